import { GRAIN_MARKER_BYTES, grainDataBytes, grainMarkerProblem } from '../../bytes/grain-marker.ts';
import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import { forEachBounded } from '../../convert/bounded.ts';
import type { StoredRun } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { decompress } from '../../io/node-codec.ts';
import { GRAIN_CACHE_BYTES } from './limits.ts';
import type { CompressedRun } from './runs.ts';

const STRUCTURE = 'VMDK compressed grain';
/** Records that stand closer than this in the file are fetched with one read: a grain table may be between. */
const GAP_BYTES = 4096;
/** Most bytes of one such read: short enough that a cache in front of a network keeps them. */
const GROUP_BYTES = 768 * 1024;
const DECOMPRESSIONS_AT_ONCE = 16;

interface StoredGrain {
  readonly run: CompressedRun;
  readonly record: Uint8Array;
}

/** Reads the grains of a streamOptimized file. */
export class CompressedGrains {
  readonly #source: ByteSource;
  readonly #grainBytes: number;
  /** Grains of which only a part was asked for, by their offset in the disk: the rest mostly comes next. */
  readonly #cache = new Map<number, Uint8Array>();

  constructor(source: ByteSource, grainBytes: number) {
    this.#source = source;
    this.#grainBytes = grainBytes;
  }

  /** Fills the parts of `into`, which stands for the disk from `offsetBytes`, that lie in these grains. */
  async read(
    runs: readonly CompressedRun[],
    offsetBytes: number,
    into: Uint8Array,
    signal?: AbortSignal,
  ): Promise<void> {
    const end = offsetBytes + into.length;
    const place = (run: CompressedRun, plain: Uint8Array) => {
      const from = Math.max(run.offsetBytes, offsetBytes);
      const to = Math.min(run.offsetBytes + run.lengthBytes, end);
      into.set(plain.subarray(from - run.offsetBytes, to - run.offsetBytes), from - offsetBytes);
    };
    const missing: CompressedRun[] = [];
    for (const run of runs) {
      const cached = this.#cache.get(run.offsetBytes);
      if (cached === undefined) missing.push(run);
      else place(run, cached);
    }
    // What arrives once is taken before others make it arrive further.
    const grains = this.#source.sequential
      ? await this.#storedAtOnce(missing, signal)
      : this.#storedGrains(missing, signal);
    await forEachBounded(grains, DECOMPRESSIONS_AT_ONCE, async (stored) => {
      signal?.throwIfAborted();
      const plain = await this.#decompress(stored);
      place(stored.run, plain);
      const { run } = stored;
      if (run.offsetBytes < offsetBytes || run.offsetBytes + run.lengthBytes > end) this.#keep(run, plain);
    });
  }

  /**
   * The grain as it is stored, for those who copy compressed data and look at its marker before. Opaque where it may
   * decompress to less than a grain: at the end.
   */
  async stored(run: CompressedRun, signal?: AbortSignal): Promise<StoredRun> {
    const { offsetBytes, lengthBytes, fileOffsetBytes, recordBytes } = run;
    if (lengthBytes < this.#grainBytes) return { kind: 'opaque', offsetBytes, lengthBytes };
    // Only here it is known that a record is cut because the file is.
    const isLast = fileOffsetBytes + recordBytes >= this.#source.lengthBytes;
    return {
      kind: 'packed',
      offsetBytes,
      lengthBytes,
      compression: 'zlib',
      source: this.#source,
      sourceBytes: fileOffsetBytes + GRAIN_MARKER_BYTES,
      storedBytes: isLast ? await this.#dataBytes(run, signal) : recordBytes - GRAIN_MARKER_BYTES,
      grainSector: offsetBytes / SECTOR_BYTES,
    };
  }

  /** The length of its data, as its marker says. */
  async #dataBytes(run: CompressedRun, signal?: AbortSignal): Promise<number> {
    const at = run.fileOffsetBytes;
    const marker = await readStructure(this.#source, at, GRAIN_MARKER_BYTES, STRUCTURE, signal);
    return this.#requireRecord(run, marker);
  }

  #keep(run: CompressedRun, plain: Uint8Array): void {
    this.#cache.set(run.offsetBytes, plain);
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size * this.#grainBytes <= GRAIN_CACHE_BYTES) break;
      this.#cache.delete(oldest);
    }
  }

  /** Every record of an arriving file, asked for at once. */
  async #storedAtOnce(runs: readonly CompressedRun[], signal?: AbortSignal): Promise<StoredGrain[]> {
    const reads = runs.map(async (run) => {
      // Not more than there is: what follows the last record may be the end.
      const marker = new Uint8Array(GRAIN_MARKER_BYTES);
      await this.#source.read(run.fileOffsetBytes, marker, signal);
      const record = new Uint8Array(Math.min(run.recordBytes, GRAIN_MARKER_BYTES + grainDataBytes(marker)));
      await this.#source.read(run.fileOffsetBytes, record, signal);
      return { run, record };
    });
    const outcomes = await Promise.allSettled(reads);
    return outcomes.map((outcome) => {
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome.value;
    });
  }

  /** Fetches neighbours together: compressed grains are small and mostly stand in guest order. */
  async *#storedGrains(
    runs: CompressedRun[],
    signal?: AbortSignal,
  ): AsyncGenerator<StoredGrain, void, undefined> {
    for (let first = 0; first < runs.length; ) {
      const start = runs[first]?.fileOffsetBytes ?? 0;
      let end = start;
      let next = first;
      for (let run = runs[next]; run !== undefined; run = runs[++next]) {
        const runEnd = run.fileOffsetBytes + run.recordBytes;
        if (next > first) {
          if (run.fileOffsetBytes < start || run.fileOffsetBytes > end + GAP_BYTES) break;
          if (runEnd - start > GROUP_BYTES) break;
        }
        end = Math.max(end, runEnd);
      }
      const bytes = new Uint8Array(end - start);
      await this.#source.read(start, bytes, signal);
      for (const run of runs.slice(first, next)) {
        const at = run.fileOffsetBytes - start;
        yield { run, record: bytes.subarray(at, at + run.recordBytes) };
      }
      first = next;
    }
  }

  /** The length of the record's data. Throws for a marker that is not this grain's, and for a cut record. */
  #requireRecord(run: CompressedRun, record: Uint8Array): number {
    const offsetBytes = run.fileOffsetBytes;
    const problem = grainMarkerProblem(record, run.offsetBytes / SECTOR_BYTES, this.#grainBytes);
    if (problem !== undefined) {
      throw new ImageError('IMAGE_MALFORMED', problem, {
        structure: STRUCTURE,
        offsetBytes,
        hint: 'the file is damaged: copy or download it again',
      });
    }
    const dataBytes = grainDataBytes(record);
    const end = GRAIN_MARKER_BYTES + dataBytes;
    if (end > run.recordBytes) this.#refuseCut(offsetBytes, end);
    return dataBytes;
  }

  async #decompress({ run, record }: StoredGrain): Promise<Uint8Array> {
    const offsetBytes = run.fileOffsetBytes;
    const end = GRAIN_MARKER_BYTES + this.#requireRecord(run, record);
    const data = record.subarray(GRAIN_MARKER_BYTES, end);
    try {
      return await decompress('zlib', data, this.#grainBytes, STRUCTURE, offsetBytes);
    } catch (error) {
      // qemu writes no more of the disk's last grain than the disk has.
      if (run.lengthBytes === this.#grainBytes || !(error instanceof ImageError)) throw error;
      return decompress('zlib', data, run.lengthBytes, STRUCTURE, offsetBytes);
    }
  }

  #refuseCut(offsetBytes: number, lengthBytes: number): never {
    const beyond = offsetBytes + lengthBytes > this.#source.lengthBytes;
    throw new ImageError(
      beyond ? 'IMAGE_TRUNCATED' : 'IMAGE_MALFORMED',
      `the compressed grain of ${lengthBytes} bytes runs ${beyond ? 'beyond the end of the file' : 'into the next one'}`,
      {
        structure: STRUCTURE,
        offsetBytes,
        hint: 'the file is incomplete or damaged: copy or download it again',
      },
    );
  }
}
