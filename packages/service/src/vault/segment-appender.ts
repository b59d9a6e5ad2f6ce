import type { FileHandle } from 'node:fs/promises';
import { writeError } from './errors.ts';
import { writeFully } from './segment-file.ts';
import type { Segment } from './segments.ts';

/** Appends records to one segment, for one import at a time. */
export class SegmentAppender {
  readonly segment: Segment;
  readonly #handle: FileHandle;
  readonly #path: string;
  readonly #limitBytes: number;
  #endBytes: number;

  constructor(segment: Segment, handle: FileHandle, path: string, limitBytes: number) {
    this.segment = segment;
    this.#handle = handle;
    this.#path = path;
    this.#limitBytes = limitBytes;
    this.#endBytes = segment.committedBytes;
  }

  /** Where the next record goes. */
  get endBytes(): number {
    return this.#endBytes;
  }

  get isFull(): boolean {
    return this.#endBytes >= this.#limitBytes;
  }

  /** Writes records at the end, one call at a time. Throws STORE_FULL when there is no space. */
  async append(records: readonly Uint8Array[]): Promise<void> {
    try {
      await writeFully(this.#handle, records, this.#endBytes);
    } catch (error) {
      throw writeError(error, this.#path);
    }
    for (const record of records) this.#endBytes += record.length;
  }

  /** Makes everything that was appended durable. */
  async sync(): Promise<void> {
    try {
      await this.#handle.datasync();
    } catch (error) {
      throw writeError(error, this.#path);
    }
  }

  /** Cuts off what was not committed and lets others have the segment. */
  async release(): Promise<void> {
    try {
      await this.#handle.truncate(this.segment.committedBytes);
    } finally {
      await this.#handle.close();
      this.segment.busy = false;
    }
  }

  /**
   * Closes the segment as it is and leaves it out of use until the vault is opened again: only the database
   * knows how much of it is committed.
   */
  async abandon(): Promise<void> {
    await this.#handle.close();
  }
}
