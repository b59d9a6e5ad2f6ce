import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { WINDOW_BYTES } from '../../io/forward.ts';
import { CompressedGrains } from './compressed-grains.ts';
import type { ExtentPart } from './extent-part.ts';
import type { SparseHeader } from './header.ts';
import type { CompressedRun, GrainRun } from './runs.ts';
import { StreamWalk, type WalkedGrain } from './stream-walk.ts';

/** Grains told of at once: those who read them come close behind the walk. */
const GRAINS_AT_ONCE = 16;

/** A streamOptimized file that arrives once, known by its markers as they come. */
export class StreamPart implements ExtentPart {
  readonly lengthBytes: number;
  readonly source: ByteSource;
  readonly #walk: StreamWalk;
  readonly #grainBytes: number;
  readonly #compressed: CompressedGrains;
  /** The last grains that came, in the order of the disk. */
  #grains: WalkedGrain[] = [];
  /** Grains before this one are no longer known. */
  #knownFrom = 0;
  #isAtEnd = false;
  /** What ended the walk before the stream did. */
  #failure: unknown;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(source: ByteSource, header: SparseHeader, lengthBytes: number) {
    this.source = source;
    this.lengthBytes = lengthBytes;
    this.#walk = new StreamWalk(source, header);
    this.#grainBytes = header.grainSectors * SECTOR_BYTES;
    this.#compressed = new CompressedGrains(source, this.#grainBytes);
  }

  async *runs(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<readonly GrainRun[], void, undefined> {
    for (let at = fromBytes - (fromBytes % this.#grainBytes); at < toBytes; ) {
      const runs = await this.#runsFrom(at, toBytes, signal);
      yield runs;
      const last = runs.at(-1);
      at = last === undefined ? toBytes : last.offsetBytes + last.lengthBytes;
    }
    // Who comes to the end of the disk learns whether the stream ends as it should.
    if (toBytes === this.lengthBytes) await this.#inTurn(() => this.#toEnd(signal));
  }

  /** A hole and the grains behind it, some of those before `toBytes`. */
  async #runsFrom(
    atBytes: number,
    toBytes: number,
    signal: AbortSignal | undefined,
  ): Promise<readonly GrainRun[]> {
    const runs: GrainRun[] = [];
    for (let at = atBytes; at < toBytes && runs.length < GRAINS_AT_ONCE; ) {
      const found = await this.#grainFrom(at / this.#grainBytes, signal);
      const start = found === undefined ? toBytes : Math.min(found.grain * this.#grainBytes, toBytes);
      if (start > at) runs.push({ kind: 'hole', offsetBytes: at, lengthBytes: start - at });
      at = start;
      if (found === undefined || at >= toBytes) break;
      const lengthBytes = Math.min(this.#grainBytes, this.lengthBytes - at);
      const { fileOffsetBytes, recordBytes } = found;
      runs.push({ kind: 'compressed', offsetBytes: at, lengthBytes, fileOffsetBytes, recordBytes });
      at += lengthBytes;
    }
    return runs;
  }

  /** The first grain at or behind this one that is stored; undefined when none is. */
  async #grainFrom(grain: number, signal: AbortSignal | undefined): Promise<WalkedGrain | undefined> {
    for (;;) {
      if (grain < this.#knownFrom) refuseEarlier(this.source.name, grain * this.#grainBytes);
      const known = this.#firstFrom(grain);
      if (known !== undefined || this.#isAtEnd) return known;
      await this.#inTurn(async () => {
        // Another reader may have taken the step meanwhile.
        if (this.#firstFrom(grain) === undefined && !this.#isAtEnd) await this.#step(signal);
      });
    }
  }

  #firstFrom(grain: number): WalkedGrain | undefined {
    let low = 0;
    let high = this.#grains.length;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if ((this.#grains[middle]?.grain ?? 0) < grain) low = middle + 1;
      else high = middle;
    }
    return this.#grains[low];
  }

  async #step(signal: AbortSignal | undefined): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const found = await this.#walk.next(signal).catch((error) => {
      this.#failure = error;
      throw error;
    });
    if (found === undefined) {
      this.#isAtEnd = true;
      return;
    }
    this.#grains.push(found);
    const [oldest] = this.#grains;
    // Not kept longer than their bytes are; twice as far, so that what is forgotten is forgotten in large pieces.
    if (oldest !== undefined && oldest.fileOffsetBytes < found.fileOffsetBytes - 2 * WINDOW_BYTES) {
      const keepFrom = found.fileOffsetBytes - WINDOW_BYTES;
      this.#grains = this.#grains.filter(({ fileOffsetBytes }) => fileOffsetBytes >= keepFrom);
      this.#knownFrom = this.#grains[0]?.grain ?? 0;
    }
  }

  #inTurn(task: () => Promise<void>): Promise<void> {
    const run = this.#turn.then(task);
    this.#turn = run.catch(() => {});
    return run;
  }

  readCompressed(
    runs: readonly CompressedRun[],
    offsetBytes: number,
    into: Uint8Array,
    signal?: AbortSignal,
  ): Promise<void> {
    return this.#compressed.read(runs, offsetBytes, into, signal);
  }

  storedGrain: CompressedGrains['stored'] = (run, signal) => this.#compressed.stored(run, signal);

  /** Walks to the end of the stream, and looks at what follows it. */
  async drain(signal?: AbortSignal): Promise<void> {
    await this.#inTurn(async () => {
      await this.#toEnd(signal);
      await this.#walk.finish(signal);
    });
  }

  async #toEnd(signal: AbortSignal | undefined): Promise<void> {
    while (!this.#isAtEnd) await this.#step(signal);
  }
}

function refuseEarlier(name: string, offsetBytes: number): never {
  throw new ImageError(
    'IMAGE_NOT_SEQUENTIAL',
    `${name} arrives once: what the disk has at ${offsetBytes} has passed`,
    {
      structure: 'VMDK stream',
      hint: 'put the file where it can be read at any offset',
    },
  );
}
