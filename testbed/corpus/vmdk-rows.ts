import type { Expected, HostileCase } from './case.ts';
import { bent, type Patch } from './image.ts';
import type { VmdkImage } from './vmdk-image.ts';

export const format = 'vmdk';

export const GRAIN = 4096;

export type Row = readonly [what: string, expected: Expected, ...patches: readonly Patch[]];

export function* rows(what: string, good: VmdkImage, list: readonly Row[]): Generator<HostileCase> {
  for (const [name, expected, ...patches] of list) {
    yield { name: `${what}: ${name}`, format, image: bent(good.image, ...patches), expected };
  }
}
