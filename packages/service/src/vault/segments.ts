import { type FileHandle, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { storeError } from '@gantry/disk';
import { isForeignKeyViolation } from '../db/constraint-errors.ts';
import { newId } from '../db/ids.ts';
import type { Queries } from '../db/transactions.ts';
import { writeError } from './errors.ts';
import { SegmentAppender } from './segment-appender.ts';
import { createSegmentFile, openSegmentFile, readFully, SEGMENT_HEADER_BYTES } from './segment-file.ts';

/** A segment as its row tells; the numbers follow what was committed. */
export interface Segment {
  readonly number: number;
  readonly id: string;
  committedBytes: number;
  liveBytes: number;
  /** An import appends to it, or a collection rewrites it. */
  busy: boolean;
}

interface OpenFile {
  readonly opening: Promise<FileHandle>;
  users: number;
  dropped: boolean;
}

/** Open files kept for reading. */
const OPEN_FILES_LIMIT = 64;
/** What newId makes. */
export const SEGMENT_NAME: RegExp = /^seg-[0-9a-f]{32}$/;

/** Thrown by a read when the segment was collected: the block has moved, its row tells where to. */
export class SegmentGone extends Error {}

/** The folder of segment files and their rows. One process owns it. */
export class Segments {
  readonly folder: string;
  readonly limitBytes: number;
  readonly #queries: Queries;
  readonly #segments: Map<number, Segment> = new Map();
  /** Ids of files whose rows are being made. */
  readonly #creating: Set<string> = new Set();
  /** Least recently used first. */
  readonly #files: Map<number, OpenFile> = new Map();

  private constructor(folder: string, limitBytes: number, queries: Queries) {
    this.folder = folder;
    this.limitBytes = limitBytes;
    this.#queries = queries;
  }

  /** Cuts off what an import left beyond the committed bytes when it was killed. The folder exists. */
  static async open(folder: string, limitBytes: number, queries: Queries): Promise<Segments> {
    const segments = new Segments(folder, limitBytes, queries);
    for (const row of await queries.selectFrom('vault_segments').selectAll().orderBy('number').execute()) {
      const segment: Segment = {
        number: row.number,
        id: row.id,
        committedBytes: row.committed_bytes,
        liveBytes: row.live_bytes,
        busy: false,
      };
      segments.#segments.set(segment.number, segment);
      await segments.#cutTail(segment);
    }
    return segments;
  }

  async close(): Promise<void> {
    for (const number of [...this.#files.keys()]) await this.#drop(number);
  }

  list(): Segment[] {
    return [...this.#segments.values()];
  }

  get(number: number): Segment | undefined {
    return this.#segments.get(number);
  }

  path(segment: Pick<Segment, 'id'>): string {
    return join(this.folder, segment.id);
  }

  /**
   * Fills the buffers, one after the other, from a segment. Throws SegmentGone when there is no such segment
   * any more, STORE_CORRUPT when its file is missing, foreign or ends too early.
   */
  async read(number: number, offsetBytes: number, buffers: readonly Uint8Array[]): Promise<void> {
    const segment = this.#segments.get(number);
    if (segment === undefined) throw new SegmentGone();
    const file = this.#file(segment);
    file.users++;
    try {
      await readFully(await file.opening, buffers, offsetBytes, this.path(segment));
    } catch (error) {
      // Collected between the look at its row and the opening of its file.
      if (this.#segments.get(number) !== segment) throw new SegmentGone();
      throw error;
    } finally {
      file.users--;
      if (file.dropped && file.users === 0) await closeFile(file);
    }
  }

  /** A segment to append to, which is the caller's alone until it is released: one with room, or a new one. */
  async takeForAppend(): Promise<SegmentAppender> {
    for (const segment of this.#segments.values()) {
      if (segment.busy || segment.committedBytes >= this.limitBytes) continue;
      segment.busy = true;
      const appender = await this.#openForAppend(segment).catch((error) => {
        segment.busy = false;
        throw error;
      });
      if (appender !== undefined) return appender;
      segment.busy = false;
    }
    return this.#create();
  }

  /** Takes a segment out of use by imports, so that it can be rewritten; false when an import appends to it. */
  claim(segment: Segment): boolean {
    if (segment.busy) return false;
    segment.busy = true;
    return true;
  }

  /**
   * Removes a segment in which no row has a block; reads that have begun come to their end. False when a row
   * has one after all.
   */
  async remove(segment: Segment): Promise<boolean> {
    try {
      await this.#queries.deleteFrom('vault_segments').where('number', '=', segment.number).execute();
    } catch (error) {
      if (isForeignKeyViolation(error)) return false;
      throw error;
    }
    this.#segments.delete(segment.number);
    await this.#drop(segment.number);
    await rm(this.path(segment), { force: true });
    return true;
  }

  /** Files that no row knows: what a killed collection or creation left behind. */
  async strangers(): Promise<string[]> {
    const known = new Set([...this.#creating, ...this.list().map((segment) => segment.id)]);
    return (await readdir(this.folder)).filter((name) => SEGMENT_NAME.test(name) && !known.has(name));
  }

  /** Returns how many bytes they had. */
  async removeStrangers(): Promise<number> {
    let bytes = 0;
    for (const name of await this.strangers()) {
      const path = join(this.folder, name);
      bytes += (await stat(path)).size;
      await rm(path);
    }
    return bytes;
  }

  async #create(): Promise<SegmentAppender> {
    const id = newId('seg');
    const path = join(this.folder, id);
    this.#creating.add(id);
    try {
      return await this.#createFile(id, path);
    } catch (error) {
      await rm(path, { force: true });
      throw writeError(error, path);
    } finally {
      this.#creating.delete(id);
    }
  }

  async #createFile(id: string, path: string): Promise<SegmentAppender> {
    const handle = await createSegmentFile(this.folder, path, id);
    try {
      const { number } = await this.#queries
        .insertInto('vault_segments')
        .values({ id, committed_bytes: SEGMENT_HEADER_BYTES, live_bytes: 0, created_at_ms: Date.now() })
        .returning('number')
        .executeTakeFirstOrThrow();
      const segment = { number, id, committedBytes: SEGMENT_HEADER_BYTES, liveBytes: 0, busy: true };
      this.#segments.set(number, segment);
      return new SegmentAppender(segment, handle, path, this.limitBytes);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Undefined when the file lacks committed bytes: nothing is added to a damaged segment. */
  async #openForAppend(segment: Segment): Promise<SegmentAppender | undefined> {
    const path = this.path(segment);
    const handle = await openSegmentFile(path, segment.id, 'r+').catch((error) => {
      if (error.code === 'STORE_CORRUPT') return undefined;
      throw error;
    });
    if (handle === undefined) return undefined;
    try {
      const { size } = await handle.stat();
      if (size >= segment.committedBytes) {
        await handle.truncate(segment.committedBytes);
        return new SegmentAppender(segment, handle, path, this.limitBytes);
      }
    } catch (error) {
      await handle.close();
      throw writeError(error, path);
    }
    await handle.close();
    return undefined;
  }

  async #cutTail(segment: Segment): Promise<void> {
    const path = this.path(segment);
    try {
      const handle = await open(path, 'r+');
      try {
        const { size } = await handle.stat();
        if (size > segment.committedBytes) await handle.truncate(segment.committedBytes);
      } finally {
        await handle.close();
      }
    } catch (error) {
      // A missing file is for the reads that need it, and for check: the other segments are as good as ever.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw storeError(error, path);
    }
  }

  #file(segment: Segment): OpenFile {
    const found = this.#files.get(segment.number);
    if (found !== undefined) {
      this.#files.delete(segment.number);
      this.#files.set(segment.number, found);
      return found;
    }
    const opening = openSegmentFile(this.path(segment), segment.id, 'r');
    const file: OpenFile = { opening, users: 0, dropped: false };
    this.#files.set(segment.number, file);
    opening.catch(() => {
      if (this.#files.get(segment.number) === file) this.#files.delete(segment.number);
    });
    if (this.#files.size > OPEN_FILES_LIMIT) {
      const oldest = this.#files.keys().next().value;
      if (oldest !== undefined) void this.#drop(oldest);
    }
    return file;
  }

  async #drop(number: number): Promise<void> {
    const file = this.#files.get(number);
    if (file === undefined) return;
    this.#files.delete(number);
    file.dropped = true;
    if (file.users === 0) await closeFile(file);
  }
}

async function closeFile(file: OpenFile): Promise<void> {
  const handle = await file.opening.catch(() => undefined);
  await handle?.close();
}
