import type { Compression } from './codec.ts';

/**
 * What native code does better than Node: finding the holes of a file, and codecs that write into memory of the
 * caller. Everything works without one. All calls are synchronous and may come from any thread that loaded it.
 */
export interface Accelerator {
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
  /** Compresses into `target`; gives the length, or 0 when it does not fit. `deflate-raw` has a window of 32 KiB. */
  compressInto(target: Uint8Array, kind: Compression, bytes: Uint8Array, level: number): number;
  /**
   * Decompresses one compressed unit into `target`. Bytes after its end are left alone: `usedBytes` says where
   * that was. Undefined for damaged input, and for more output than `target` takes.
   */
  decompressInto(
    target: Uint8Array,
    kind: Compression,
    bytes: Uint8Array,
  ): { readonly writtenBytes: number; readonly usedBytes: number } | undefined;
}
