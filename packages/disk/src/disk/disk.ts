/**
 * What an extent of a disk is: `data` is stored, `zero` is stored as known to be zero, `hole` was never
 * written. The last two read as zeros.
 */
export type ExtentKind = 'data' | 'zero' | 'hole';

/** A run of the disk as the guest addresses it. */
export interface Extent {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly kind: ExtentKind;
  /** True when the data is stored compressed, so that looking for zeros in it costs a decompression. */
  readonly compressed?: boolean;
}

export type DetailValue =
  | string
  | number
  | boolean
  | null
  | readonly DetailValue[]
  | { readonly [key: string]: DetailValue };

/** What the guest sees of an image. */
export interface Disk {
  /** Name of the format that it is read from. */
  readonly format: string;
  readonly virtualSizeBytes: number;
  /** Facts of the format for `info`: names as the format's own documents give them. */
  readonly details: Readonly<Record<string, DetailValue>>;
  /** Oddities that were tolerated, one sentence each. */
  readonly warnings: readonly string[];
  /**
   * The extents that cover [from, to) exactly, in order, found lazily: the cost follows allocated data.
   * `to` is at most `virtualSizeBytes`. Neighbours may have the same kind.
   */
  extents(fromBytes: number, toBytes: number, signal?: AbortSignal): AsyncIterable<Extent>;
  /** Fills all of `into` from `offsetBytes`; the range lies inside the virtual size. */
  read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** Closes the disk and the sources that it opened through its gate. */
  close(): Promise<void>;
}
