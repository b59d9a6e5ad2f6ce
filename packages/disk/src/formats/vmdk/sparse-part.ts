import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { StoredRun } from '../../disk/disk.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { CompressedGrains } from './compressed-grains.ts';
import type { ExtentPart } from './extent-part.ts';
import { type CompressedRun, type GrainLookup, type GrainRun, grainRuns } from './runs.ts';

/** An extent whose grains are found through tables. */
export class SparsePart implements ExtentPart {
  readonly lengthBytes: number;
  readonly source: ByteSource;
  readonly #tables: GrainLookup;
  readonly #compressed: CompressedGrains;

  /** `lengthBytes` may be less than the tables are for: VirtualBox rounds the capacity up to a grain. */
  constructor(source: ByteSource, tables: GrainLookup, lengthBytes: number) {
    this.source = source;
    this.lengthBytes = lengthBytes;
    this.#tables = tables;
    this.#compressed = new CompressedGrains(source, tables.grainSectors * SECTOR_BYTES);
  }

  runs(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<readonly GrainRun[], void, undefined> {
    return grainRuns(this.#tables, this.lengthBytes, fromBytes, toBytes, signal);
  }

  readCompressed(
    runs: readonly CompressedRun[],
    offsetBytes: number,
    into: Uint8Array,
    signal?: AbortSignal,
  ): Promise<void> {
    return this.#compressed.read(runs, offsetBytes, into, signal);
  }

  storedGrain(run: CompressedRun, signal?: AbortSignal): Promise<StoredRun> {
    return this.#compressed.stored(run, signal);
  }
}
