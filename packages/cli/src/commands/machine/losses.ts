import type { Loss } from '@gantry/machine';
import type { Context } from '../../context.ts';

/** Notes what a target does not hold, a line for each. */
export function noteLosses(context: Context, losses: readonly Loss[], target: string): void {
  for (const { field, why } of losses) context.progress.note(`not in ${target}: ${field}: ${why}`);
}
