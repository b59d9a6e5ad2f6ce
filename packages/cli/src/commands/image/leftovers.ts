import type { Leftover } from '@gantry/cloud';
import { printable } from '../../output/printable.ts';

/** What could not be removed from a cloud, and how to do it. */
export function leftoverLines(leftovers: readonly Leftover[]): string[] {
  return leftovers.flatMap(({ kind, id, why, remove }) => [
    `left in the cloud: ${kind} ${printable(id)}: ${printable(why)}`,
    `  remove it with: ${printable(remove)}`,
  ]);
}
