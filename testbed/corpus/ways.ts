import type { ImageErrorCode } from '@gantry/disk';
import type { HostileCase } from './case.ts';

/**
 * The ways in which a case is opened and read: the whole disk in order, all of it (or much) in ranges of odd
 * lengths out of order, byte by byte, from a stream that arrives once, copied into another format, and looked at
 * by `check` and `repair`.
 */
export const ways = ['whole', 'ranges', 'bytes', 'forward', 'copied', 'checked'] as const;

export type Way = (typeof ways)[number];

/** How a way ended. `failed` is never right: it is no refusal, or what was read is not what should be. */
export type End =
  | {
      readonly kind: 'read';
      readonly digest?: string;
      readonly sizeBytes: number;
      readonly warnings: string[];
    }
  | {
      readonly kind: 'refused';
      readonly code: ImageErrorCode;
      readonly structure: string;
      readonly message: string;
    }
  | { readonly kind: 'failed'; readonly message: string }
  /** Nothing to do in this way: `checked` for a format without `check`. */
  | { readonly kind: 'none' };

export interface WayResult {
  readonly way: Way;
  readonly end: End;
  /** Processor time of all threads. */
  readonly cpuMs: number;
  /** Names inside the image that were asked for. */
  readonly asked: readonly string[];
}

export interface Attempt {
  readonly hostile: HostileCase;
  readonly signal: AbortSignal;
  readonly asked: string[];
  /** What the way `whole` read of a small disk: ranges and bytes have to agree with it. */
  readonly kept: { bytes?: Uint8Array; digest?: string };
}
