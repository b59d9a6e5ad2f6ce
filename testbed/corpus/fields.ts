import type { Expected, HostileCase } from './case.ts';
import { TRUNCATED } from './case.ts';
import type { CorpusImage, Patch } from './image.ts';
import { resized } from './image.ts';

function field(lengthBytes: number, set: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  set(new DataView(bytes.buffer));
  return bytes;
}

export const u8 = (offsetBytes: number, value: number): Patch => ({
  offsetBytes,
  bytes: Uint8Array.of(value),
});
export const be16 = (offsetBytes: number, value: number): Patch => ({
  offsetBytes,
  bytes: field(2, (view) => view.setUint16(0, value)),
});
export const be32 = (offsetBytes: number, value: number): Patch => ({
  offsetBytes,
  bytes: field(4, (view) => view.setUint32(0, value)),
});
export const be64 = (offsetBytes: number, value: bigint | number): Patch => ({
  offsetBytes,
  bytes: field(8, (view) => view.setBigUint64(0, BigInt(value))),
});
export const le16 = (offsetBytes: number, value: number): Patch => ({
  offsetBytes,
  bytes: field(2, (view) => view.setUint16(0, value, true)),
});
export const le32 = (offsetBytes: number, value: number): Patch => ({
  offsetBytes,
  bytes: field(4, (view) => view.setUint32(0, value, true)),
});
export const le64 = (offsetBytes: number, value: bigint | number): Patch => ({
  offsetBytes,
  bytes: field(8, (view) => view.setBigUint64(0, BigInt(value), true)),
});
/** One character a byte. */
export const text = (offsetBytes: number, value: string): Patch => ({
  offsetBytes,
  bytes: Buffer.from(value, 'latin1'),
});
export const bytesAt = (offsetBytes: number, bytes: Uint8Array): Patch => ({ offsetBytes, bytes });

/** Bytes that look random and are the same every time. */
export function noise(lengthBytes: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  let state = seed;
  for (let at = 0; at < lengthBytes; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

/** Bytes that compress and of which none is zero. */
export function pattern(lengthBytes: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length: lengthBytes }, (_, at) => 1 + (((at >> 6) + seed) % 250));
}

/** A structure of a good image: the file is cut before it, in it and one byte before its end. */
export interface Structure {
  readonly name: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** How a file that ends in it has to end; IMAGE_TRUNCATED if absent. */
  readonly cut?: Expected;
  /** It is data: who does not read there does not see that it is cut. */
  readonly isData?: boolean;
}

/** A good image: its file, its disk and where its structures stand. */
export interface GoodImage {
  readonly image: CorpusImage;
  readonly content: CorpusImage;
  readonly structures: readonly Structure[];
}

/** The good image's file cut at the borders of each structure and inside of it. */
export function* cuts(
  what: string,
  good: GoodImage,
  more: Partial<HostileCase> = {},
): Generator<HostileCase, void, undefined> {
  for (const { name, offsetBytes, lengthBytes, cut, isData = false } of good.structures) {
    const places = new Map([
      [0, 'before'],
      [1, 'one byte into'],
      [Math.floor(lengthBytes / 2) | 1, 'in the middle of'],
      [lengthBytes - 1, 'one byte before the end of'],
    ]);
    for (const [within, where] of places) {
      if (within >= lengthBytes) continue;
      yield {
        name: `${what} cut ${where} its ${name}`,
        image: resized(good.image, offsetBytes + within),
        expected: cut ?? TRUNCATED,
        onlyWhole: isData,
        ...more,
      };
    }
  }
}
