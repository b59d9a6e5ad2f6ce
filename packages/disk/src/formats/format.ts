import type { ProgressListener } from '../convert/progress.ts';
import type { Disk } from '../disk/disk.ts';
import type { ReferenceGate } from '../disk/reference-gate.ts';
import type { ByteSource } from '../io/byte-source.ts';
import type { BlockPlacement } from '../view/block-placement.ts';
import type { ImageStream } from '../view/image-stream.ts';
import type { Layout } from '../view/layout.ts';

/** The first and last bytes of a file, as much as any format's recognition needs. */
export interface ProbeBytes {
  /** Up to 64 KiB from the start. */
  readonly head: Uint8Array;
  /** Up to the last 1024 bytes. */
  readonly tail: Uint8Array;
  readonly lengthBytes: number;
}

export interface OpenOptions {
  /** Decides about every name inside the image; there is no default. */
  readonly references: ReferenceGate;
  readonly signal?: AbortSignal | undefined;
  /** The sources that led here, outermost first: a chain never opens one twice, nor goes too deep. */
  readonly chain?: readonly ByteSource[];
  /** Name or id of the internal snapshot to open instead of the present state; only for formats that have them. */
  readonly snapshot?: string | undefined;
  /** Name of the disk to open in an archive that holds several; only for archives. */
  readonly member?: string | undefined;
  /**
   * Puts what arrives where it can be read at any offset; the disk closes what it gives. For images that cannot
   * be opened front to back, such as raw disks of unknown length; absent, they are IMAGE_NOT_SEQUENTIAL.
   */
  readonly spool?: ((bytes: AsyncIterable<Uint8Array>) => Promise<ByteSource>) | undefined;
}

/** One `-O name=value` option of a format that can be written. */
export interface FormatOption {
  readonly name: string;
  readonly description: string;
  /** The values that are taken, the default first; absent for a number with its own check. */
  readonly values?: readonly string[];
}

export interface WriteRequest {
  /** Values by option name; unknown names were refused before. */
  readonly options: Readonly<Record<string, string>>;
  /** Compress the data, when the format can. */
  readonly compression?: 'zlib' | 'zstd' | undefined;
  /** 32 bytes from which every identifier and time inside the file derives. */
  readonly seed: Uint8Array;
  /** Name of the target without folder and ending, for formats of several files that name each other. */
  readonly baseName: string;
  readonly signal?: AbortSignal | undefined;
}

export type CheckSeverity = 'corruption' | 'leak' | 'warning';

export interface CheckFinding {
  readonly severity: CheckSeverity;
  readonly structure: string;
  readonly offsetBytes?: number | undefined;
  readonly message: string;
}

export interface CheckReport {
  readonly format: string;
  /** At most `checkFindingLimit`; the counts go on. */
  readonly findings: readonly CheckFinding[];
  readonly corruptionCount: number;
  readonly leakCount: number;
  readonly warningCount: number;
}

/** An image that is more than one file, such as a descriptor and its extents. The first is the one to open. */
export interface FileSet {
  readonly kind: 'files';
  readonly format: string;
  readonly files: readonly { readonly name: string; readonly plan: Layout | ImageStream }[];
}

/** What would make a damaged image sound again. Nothing is written by planning it. */
export interface RepairPlan {
  readonly format: string;
  /** What is done, one sentence each; empty when nothing has to be. */
  readonly actions: readonly string[];
  /** Findings that no certain repair exists for, one sentence each. */
  readonly remaining: readonly string[];
  /** Bytes to put into the file, in order and apart from each other. */
  readonly patches: readonly { readonly offsetBytes: number; readonly bytes: Uint8Array }[];
  /** The file's length afterwards. */
  readonly lengthBytes: number;
}

/** One disk format: one folder. What it cannot do is absent. */
export interface Format {
  readonly name: string;
  /** As people write it. */
  readonly title: string;
  /** File name endings, without the dot; the first is the one to write. */
  readonly extensions: readonly string[];
  /** True when these bytes carry the format's mark. Raw carries none. */
  recognise(probe: ProbeBytes): boolean;
  /** The source belongs to the caller and stays open when the disk is closed. */
  open(source: ByteSource, options: OpenOptions): Promise<Disk>;
  readonly options?: readonly FormatOption[];
  /** Compressions that `plan` takes. */
  readonly compressions?: readonly ('zlib' | 'zstd')[];
  /** Which of the choices of `OpenOptions` this format knows; others are refused before `open`. */
  readonly selectors?: readonly ('snapshot' | 'member')[];
  /** Plans a file of this format that shows `disk`: a layout when its length is known, else a stream. */
  plan?(disk: Disk, request: WriteRequest): Promise<Layout | ImageStream | FileSet>;
  /**
   * Plans the same of compressed data as the disk has it, all of which is decompressed once before: a layout, whose
   * length is exact. Undefined where some data would have to be compressed anew, or none is compressed. Takes and
   * throws what `plan` does, and IMAGE_MALFORMED for damaged data.
   */
  planStored?(disk: Disk, request: WriteRequest, onProgress?: ProgressListener): Promise<Layout | undefined>;
  /**
   * Where data goes in the layout that `plan` makes of a disk of this size, known before its allocation is, so
   * that data can be copied while zeros are found. Absent, or undefined for options whose plan is no layout.
   * Throws what `plan` throws for the size and the options.
   */
  placement?(virtualSizeBytes: number, request: WriteRequest): Promise<BlockPlacement | undefined>;
  /** Looks for damage without changing anything. */
  check?(source: ByteSource, options: OpenOptions): Promise<CheckReport>;
  /** Plans the repair of what is certain: the disk's content stays what a reader sees now. */
  repair?(source: ByteSource, options: OpenOptions): Promise<RepairPlan>;
}
