import { inflateRaw } from '../bytes/inflate.ts';

// What node-inflate.ts gives, in a browser.

export const INFLATE_WINDOW_BYTES = 32768;

export async function inflatePart(
  bytes: Uint8Array,
  lengthBytes: number,
  window?: Uint8Array,
): Promise<Uint8Array | undefined> {
  const output = new Uint8Array(lengthBytes);
  try {
    return inflateRaw(output, bytes, window).writtenBytes === lengthBytes ? output : undefined;
  } catch {
    return undefined;
  }
}
