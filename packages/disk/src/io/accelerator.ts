import type { Compression } from './codec.ts';

/**
 * What native code does better than Node: finding the holes of a file, and codecs that write into memory of the
 * caller. Everything works without one. All calls are synchronous and may come from any thread that loaded it.
 */
export interface Accelerator {
  /** Of this interface: both sides have to mean the same one. */
  readonly interfaceVersion: number;
  /** With the versions of its codecs: `native (libdeflate 1.14, zstd 1.5.7)`. It says which bytes they make. */
  readonly name: string;
  /**
   * The first range of the file at or after `fromBytes` that is not a hole; undefined when the rest is one.
   * Throws an error with `code` and `syscall`, as Node's own do, where the file system cannot tell.
   */
  nextData(
    fileDescriptor: number,
    fromBytes: number,
  ): { readonly offsetBytes: number; readonly endBytes: number } | undefined;
  /**
   * Compresses into `target`; gives the length, or 0 when it does not fit. Deflate has a window of 32 KiB, levels
   * 0 to 12, and wants a few bytes more than it writes; zstd has levels 1 to 22.
   */
  compressInto(target: Uint8Array, kind: Compression, bytes: Uint8Array, level: number): number;
  /**
   * Decompresses one compressed unit into `target`. Bytes after its end are left alone: `usedBytes` says where
   * that was. Undefined for damaged input, and for more output than `target` takes. Of zstd a unit is one or more
   * frames, as many as it takes to fill `target`.
   */
  decompressInto(
    target: Uint8Array,
    kind: Compression,
    bytes: Uint8Array,
  ): { readonly writtenBytes: number; readonly usedBytes: number } | undefined;
  /** Of RFC 1950, section 8: what ends a zlib stream. */
  adler32(bytes: Uint8Array): number;
  /** The verdict of bytes/incompressible.ts, several times as soon: never another, as what is written depends on it. */
  looksIncompressible(bytes: Uint8Array): boolean;
}
