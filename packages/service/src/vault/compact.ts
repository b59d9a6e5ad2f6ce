import type { VaultBlockRow } from '../db/schema.ts';
import { blocksOfSegment, countSegment, moveBlocks } from './block-index.ts';
import { recordFault } from './block-record.ts';
import { runsOf } from './block-run.ts';
import { isDamage, writeError } from './errors.ts';
import type { CollectOptions, CollectReport } from './gc.ts';
import { blockCorrupt, requireRecordOf } from './record-cache.ts';
import type { SegmentAppender } from './segment-appender.ts';
import { SEGMENT_HEADER_BYTES } from './segment-file.ts';
import type { Segment, Segments } from './segments.ts';
import type { VaultState } from './vault-state.ts';

/** Blocks that one transaction moves: 128 MiB of guest at most. */
const MOVE_BLOCKS = 512;

type CompactReport = Pick<CollectReport, 'segmentCount' | 'damagedCount' | 'freedBytes'>;

/**
 * Deletes segments without live blocks, moves what lives in segments that are more than half dead to others,
 * and deletes these then.
 */
export async function compactSegments(state: VaultState, options: CollectOptions): Promise<CompactReport> {
  const { segments } = state;
  const compaction = new Compaction(state, options.signal);
  const victims = segments.list().filter((segment) => isWorthless(segment) && segments.claim(segment));
  let segmentCount = 0;
  let removedBytes = 0;
  try {
    // The empty ones first: they make room for what the others need.
    for (const [i, segment] of victims.toSorted((a, b) => a.liveBytes - b.liveBytes).entries()) {
      options.signal?.throwIfAborted();
      options.onProgress?.({ phase: 'compact', done: i, total: victims.length });
      await compaction.empty(segment);
      if (segment.liveBytes > 0 || !(await segments.remove(segment))) continue;
      segmentCount++;
      removedBytes += segment.committedBytes;
    }
  } finally {
    await compaction.end();
    for (const segment of victims) segment.busy = false;
  }
  removedBytes += await segments.removeStrangers();
  const { damagedCount, addedBytes } = compaction;
  return { segmentCount, damagedCount, freedBytes: removedBytes - addedBytes };
}

function isWorthless(segment: Segment): boolean {
  return segment.liveBytes * 2 < segment.committedBytes - SEGMENT_HEADER_BYTES || segment.liveBytes === 0;
}

/** Moves blocks to segments with room. */
class Compaction {
  damagedCount = 0;
  /** What moving blocks took elsewhere. */
  addedBytes = 0;
  readonly #state: VaultState;
  readonly #signal: AbortSignal | undefined;
  #target: SegmentAppender | undefined;

  constructor(state: VaultState, signal: AbortSignal | undefined) {
    this.#state = state;
    this.#signal = signal;
  }

  /** Moves every sound block of the segment. What is damaged stays where it is. */
  async empty(segment: Segment): Promise<void> {
    let rows: VaultBlockRow[] = [];
    for await (const row of blocksOfSegment(this.#state.database.kysely, segment.number)) {
      rows.push(row);
      if (rows.length < MOVE_BLOCKS) continue;
      await this.#move(segment, rows);
      rows = [];
    }
    if (rows.length > 0) await this.#move(segment, rows);
  }

  async end(): Promise<void> {
    const target = this.#target;
    this.#target = undefined;
    await target?.release();
  }

  async #move(segment: Segment, rows: readonly VaultBlockRow[]): Promise<void> {
    if (this.#target?.isFull) await this.end();
    const target = this.#target ?? (await this.#state.segments.takeForAppend());
    // One without a record was just made: those that were there are being collected themselves.
    if (target.endBytes === SEGMENT_HEADER_BYTES) this.addedBytes += SEGMENT_HEADER_BYTES;
    this.#target = target;
    const moved: VaultBlockRow[] = [];
    for (const run of runsOf(rows.map((row) => ({ row })))) {
      this.#signal?.throwIfAborted();
      const sound = await this.#readRun(run.map((block) => block.row));
      let offset = target.endBytes;
      await target.append(sound.map(({ record }) => record));
      for (const { row } of sound) {
        moved.push({ ...row, segment_number: target.segment.number, offset_bytes: offset });
        offset += row.length_bytes;
      }
    }
    if (moved.length === 0) return;
    await target.sync();
    await this.#commit(segment, target, moved);
  }

  /** The records of a run, those that are damaged left out. */
  async #readRun(rows: readonly VaultBlockRow[]): Promise<SoundRecord[]> {
    const { segments } = this.#state;
    const first = rows[0];
    if (first === undefined) return [];
    const records = rows.map((row) => ({ row, record: new Uint8Array(row.length_bytes) }));
    try {
      const buffers = records.map(({ record }) => record);
      await segments.read(first.segment_number, first.offset_bytes, buffers);
      for (const { row, record } of records) requireSound(segments, row, record);
      return records;
    } catch (error) {
      if (!isDamage(error)) throw error;
      if (rows.length > 1) return (await Promise.all(rows.map((row) => this.#readRun([row])))).flat();
      this.damagedCount++;
      return [];
    }
  }

  async #commit(segment: Segment, target: SegmentAppender, moved: readonly VaultBlockRow[]): Promise<void> {
    const bytes = moved.reduce((sum, row) => sum + row.length_bytes, 0);
    const committedBytes = target.endBytes;
    try {
      await this.#state.database.kysely.transaction().execute(async (transaction) => {
        await moveBlocks(transaction, moved);
        await countSegment(transaction, target.segment.number, { committedBytes, liveBytes: bytes });
        await countSegment(transaction, segment.number, { liveBytes: -bytes });
      });
    } catch (error) {
      // It may have been carried out all the same: nothing may touch the target until that is known.
      this.#target = undefined;
      await target.abandon();
      throw writeError(error, this.#state.segments.folder);
    }
    target.segment.committedBytes = committedBytes;
    target.segment.liveBytes += bytes;
    segment.liveBytes -= bytes;
    this.addedBytes += bytes;
    this.#state.moves++;
  }
}

interface SoundRecord {
  readonly row: VaultBlockRow;
  readonly record: Uint8Array;
}

function requireSound(segments: Segments, row: VaultBlockRow, record: Uint8Array): void {
  requireRecordOf(segments, row, record);
  const fault = recordFault(record);
  if (fault !== undefined) throw blockCorrupt(segments, row, fault);
}
