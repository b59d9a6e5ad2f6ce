import type { Disk } from '../disk/disk.ts';
import type { ReferenceGate } from '../disk/reference-gate.ts';
import type { ByteSource } from '../io/byte-source.ts';
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
  /** Plans a file of this format that shows `disk`: a layout when its length is known, else a stream. */
  plan?(disk: Disk, request: WriteRequest): Promise<Layout | ImageStream>;
  /** Looks for damage without changing anything. */
  check?(source: ByteSource, options: OpenOptions): Promise<CheckReport>;
}
