import type { WrapperKind } from './unpack.ts';

/**
 * Decompresses chunks as they come: gzip members, zstd frames or xz streams, one after the other. How much comes out
 * is for the caller to bound. Throws ImageError for damage.
 */
export async function* unpackChunks(
  kind: WrapperKind,
  packed: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  // The decoders are loaded by who needs them.
  const { unpackAll } = await import('./unpack.ts');
  yield* unpackAll(kind, packed);
}
