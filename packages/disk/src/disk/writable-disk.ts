import type { Disk } from './disk.ts';

/** A disk that can be changed. What was written is seen by every later read, and stays after `flush` has settled. */
export interface WritableDisk extends Disk {
  /** The range lies inside the virtual size. Throws STORE_FULL when there is no room. */
  write(offsetBytes: number, bytes: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** The range reads as zeros afterwards. With `allocated`, later writes there need no more room. */
  writeZeros(
    offsetBytes: number,
    lengthBytes: number,
    options?: { readonly allocated?: boolean; readonly signal?: AbortSignal },
  ): Promise<void>;
  /** The range is not needed any more: it reads as zeros or as it was. */
  discard(offsetBytes: number, lengthBytes: number, signal?: AbortSignal): Promise<void>;
  /** Makes durable all writes that have settled. */
  flush(): Promise<void>;
}
