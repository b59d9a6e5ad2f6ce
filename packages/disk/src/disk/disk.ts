import type { ByteSource } from '../io/byte-source.ts';
import type { Compression } from '../io/codec.ts';

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

/**
 * How a run of the disk is stored, for those who copy the stored bytes instead of reading the disk. `packed` is
 * one compressed unit, given whole even where the range that was asked for cuts it; its stored range may be
 * longer than the compressed data, which ends by itself. `opaque` data is to be read through the disk.
 */
export type StoredRun =
  | { readonly kind: 'zero' | 'hole' | 'opaque'; readonly offsetBytes: number; readonly lengthBytes: number }
  | {
      readonly kind: 'plain';
      readonly offsetBytes: number;
      readonly lengthBytes: number;
      readonly source: ByteSource;
      /** Where the first byte stands in the source; all of the run lies inside it. */
      readonly sourceBytes: number;
    }
  | {
      readonly kind: 'packed';
      readonly offsetBytes: number;
      /** What it decompresses to, exactly; the last unit may reach beyond the virtual size. */
      readonly lengthBytes: number;
      readonly compression: Compression;
      readonly source: ByteSource;
      readonly sourceBytes: number;
      readonly storedBytes: number;
      /**
       * Set where VMDK's marker of the grain for this sector stands in the 12 bytes before the stored range, to be
       * compared by whoever uses the data: no table makes another grain's data pass for this one's.
       */
      readonly grainSector?: number | undefined;
    };

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
  /**
   * Facts of the format for `info`: names as the format's own documents give them. Of an archive that arrives, what
   * stands behind the disk is added by `drain`, as it is to the warnings.
   */
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
  /** True when the image arrives once: extents and reads go forward together, and only once. */
  readonly sequential?: boolean;
  /** As `extents`, with where the bytes are. Absent where a disk is not stored in runs of a source. */
  storedRuns?(fromBytes: number, toBytes: number, signal?: AbortSignal): AsyncIterable<StoredRun>;
  /**
   * Takes in what was not asked for, and throws where it does not end as it should: the checksum at the end of a
   * compressed file, for one. Called when all was read, before what was made of it is trusted.
   */
  drain?(signal?: AbortSignal): Promise<void>;
  /** Closes the disk and the sources that it opened through its gate. */
  close(): Promise<void>;
}
