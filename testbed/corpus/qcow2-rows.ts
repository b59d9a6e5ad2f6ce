import type { Expected, HostileCase } from './case.ts';
import { bent, type Patch } from './image.ts';
import type { Qcow2Image } from './qcow2-image.ts';

export const format = 'qcow2';

export const COPIED = 1n << 63n;

export const COMPRESSED = 1n << 62n;

export type Row = readonly [what: string, expected: Expected, ...patches: readonly Patch[]];

export function* rows(good: Qcow2Image, list: readonly Row[]): Generator<HostileCase> {
  for (const [name, expected, ...patches] of list) {
    yield { name: `qcow2: ${name}`, format, image: bent(good.image, ...patches), expected };
  }
}
