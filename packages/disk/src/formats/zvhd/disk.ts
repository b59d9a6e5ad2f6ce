import type { Disk, Extent, StoredRun } from '../../disk/disk.ts';
import { invariant } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { DecodedBlocks } from './decoded-blocks.ts';
import { BlockDecoder } from './decoder.ts';
import { headerWarnings, type ZvhdHeader } from './header.ts';
import { RECORD_HEAD_BYTES } from './record.ts';
import type { RecordList } from './record-list.ts';

/** The records of a file as far as they are known. */
export interface KnownRecords {
  readonly list: RecordList;
  /** Makes the record of this block known; where there is none, the next one. */
  through(block: number, signal?: AbortSignal): Promise<void>;
}

/** Blocks of one kind; a stored one comes alone. */
interface BlockRun {
  readonly offsetBytes: number;
  readonly endBytes: number;
  /** Undefined for blocks that are all zero. */
  readonly rank: number | undefined;
}

/** A ZVHD or ZVHD2 file as a disk: blocks without a record are all zero. */
export class ZvhdDisk implements Disk {
  readonly format: string;
  readonly virtualSizeBytes: number;
  readonly details: Disk['details'];
  readonly warnings: readonly string[];
  readonly sequential?: boolean;
  readonly drain: (signal?: AbortSignal) => Promise<void>;
  readonly #source: ByteSource;
  readonly #header: ZvhdHeader;
  readonly #records: KnownRecords;
  readonly #blocks: DecodedBlocks;

  /** `drain` is what is left to be checked when all was read. */
  constructor(
    source: ByteSource,
    header: ZvhdHeader,
    records: KnownRecords,
    drain: (signal?: AbortSignal) => Promise<void>,
  ) {
    this.format = header.kind;
    this.virtualSizeBytes = header.virtualSizeBytes;
    this.details = detailsOf(header);
    this.warnings = headerWarnings(header);
    if (source.sequential === true) this.sequential = true;
    this.drain = drain;
    this.#source = source;
    this.#header = header;
    this.#records = records;
    const decoder = new BlockDecoder(source, header, records.list);
    this.#blocks = new DecodedBlocks(header.blockBytes, (rank) => decoder.decode(rank));
  }

  async *extents(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Extent, void, undefined> {
    for await (const { offsetBytes, endBytes, rank } of this.#runs(fromBytes, toBytes, signal)) {
      const lengthBytes = endBytes - offsetBytes;
      if (rank === undefined) yield { offsetBytes, lengthBytes, kind: 'hole' };
      else yield { offsetBytes, lengthBytes, kind: 'data', compressed: true };
    }
  }

  /** A payload that is compressed by itself and has an end of its own can be copied; others are opaque. */
  async *storedRuns(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<StoredRun, void, undefined> {
    const { compression, blockBytes } = this.#header;
    for await (const { offsetBytes, endBytes, rank } of this.#runs(fromBytes, toBytes, signal)) {
      const lengthBytes = endBytes - offsetBytes;
      if (rank === undefined) yield { offsetBytes, lengthBytes, kind: 'hole' };
      else if (compression !== 'zstd') yield { offsetBytes, lengthBytes, kind: 'opaque' };
      else {
        const { list } = this.#records;
        yield {
          kind: 'packed',
          offsetBytes: list.block(rank) * blockBytes,
          lengthBytes: blockBytes,
          compression,
          source: this.#source,
          sourceBytes: list.offsetBytes(rank) + RECORD_HEAD_BYTES,
          storedBytes: list.lengthBytes(rank) - RECORD_HEAD_BYTES,
        };
      }
    }
  }

  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const end = offsetBytes + into.length;
    const runs = await Array.fromAsync(this.#runs(offsetBytes, end, signal));
    await Promise.all(
      runs.map(async (run) => {
        const part = into.subarray(run.offsetBytes - offsetBytes, run.endBytes - offsetBytes);
        const withinBytes = run.offsetBytes % this.#header.blockBytes;
        if (run.rank === undefined) part.fill(0);
        else {
          await this.#blocks.use(run.rank, (block) =>
            part.set(block.subarray(withinBytes, withinBytes + part.length)),
          );
        }
      }),
    );
    signal?.throwIfAborted();
  }

  async close(): Promise<void> {}

  async *#runs(
    fromBytes: number,
    toBytes: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<BlockRun, void, undefined> {
    invariant(toBytes <= this.virtualSizeBytes, 'a range lies inside the disk');
    const { blockBytes } = this.#header;
    const { list } = this.#records;
    for (let at = fromBytes; at < toBytes; ) {
      signal?.throwIfAborted();
      const block = Math.floor(at / blockBytes);
      await this.#records.through(block, signal);
      const rank = list.rankOf(block);
      // Without a record from here on all the rest is zero.
      const next = rank < list.count ? list.block(rank) : Number.POSITIVE_INFINITY;
      const endBytes = Math.min(toBytes, (next === block ? block + 1 : next) * blockBytes);
      yield { offsetBytes: at, endBytes, rank: next === block ? rank : undefined };
      at = endBytes;
    }
  }
}

function detailsOf(header: ZvhdHeader): Disk['details'] {
  return {
    compatibility: 'the published reference driver of 2018',
    creatorVersion: `0x${header.creatorVersion.toString(16).padStart(8, '0')}`,
    originalSizeBytes: header.virtualSizeBytes,
    currentSizeBytes: header.currentSizeBytes,
    blockSizeBytes: header.blockBytes,
    blockCount: header.blockCount,
    compression: header.compression,
    timeStamp: header.timeStamp,
    uuid: header.uuid,
  };
}
