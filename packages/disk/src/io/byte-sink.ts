/**
 * Where an output goes: written at any offset, seen under its final name only after `finish`. Ranges that
 * are never written read as zeros.
 */
export interface ByteSink {
  /** For messages. */
  readonly name: string;
  write(offsetBytes: number, bytes: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** Sets the exact length, makes everything durable and only then shows it under its final name. */
  finish(lengthBytes: number): Promise<void>;
  /** Leaves nothing behind. Safe to call more than once, and after `finish` (then it does nothing). */
  abort(): Promise<void>;
}
