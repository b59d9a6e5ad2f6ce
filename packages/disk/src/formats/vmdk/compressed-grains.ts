import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import { forEachBounded } from '../../convert/bounded.ts';
import type { StoredRun } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { decompress } from '../../io/node-codec.ts';
import { GRAIN_CACHE_BYTES } from './limits.ts';
import { GRAIN_MARKER_BYTES, grainDataBytes, grainMarkerProblem } from './markers.ts';
import type { CompressedRun } from './runs.ts';

const STRUCTURE = 'VMDK compressed grain';
/** Records that stand closer than this in the file are fetched with one read: a grain table may be between. */
const GAP_BYTES = 4096;
/** Most bytes of one such read: short enough that a cache in front of a network keeps them. */
const GROUP_BYTES = 768 * 1024;
const DECOMPRESSIONS_AT_ONCE = 16;
/** What is read at once to look at markers, which stand a record apart: each read costs the calling thread time. */
const MARKER_WINDOW_BYTES = 1024 * 1024;

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
  /** A part of the file that markers were looked at in last. */
  #window:
    | { readonly startBytes: number; readonly endBytes: number; readonly memory: Uint8Array }
    | undefined;

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
   * The grain as it is stored, for those who copy compressed data. Its marker is looked at: no table makes
   * another grain's data pass for this one's. Opaque where it may decompress to less than a grain: at the end.
   */
  async stored(run: CompressedRun, signal?: AbortSignal): Promise<StoredRun> {
    const { offsetBytes, lengthBytes, fileOffsetBytes } = run;
    if (lengthBytes < this.#grainBytes) return { kind: 'opaque', offsetBytes, lengthBytes };
    const marker = await this.#marker(fileOffsetBytes, signal);
    const dataBytes = this.#requireRecord(run, marker);
    return {
      kind: 'packed',
      offsetBytes,
      lengthBytes,
      compression: 'zlib',
      source: this.#source,
      sourceBytes: fileOffsetBytes + GRAIN_MARKER_BYTES,
      storedBytes: dataBytes,
    };
  }

  /** A copy: the window may be another's a moment later. */
  async #marker(fileOffsetBytes: number, signal?: AbortSignal): Promise<Uint8Array> {
    const end = fileOffsetBytes + GRAIN_MARKER_BYTES;
    let window = this.#window;
    if (window === undefined || fileOffsetBytes < window.startBytes || end > window.endBytes) {
      const windowBytes = this.#source.sequential ? GRAIN_MARKER_BYTES : MARKER_WINDOW_BYTES;
      // Nobody else reads into it meanwhile.
      this.#window = undefined;
      const memory = window?.memory ?? new Uint8Array(windowBytes);
      const endBytes = Math.min(fileOffsetBytes + windowBytes, this.#source.lengthBytes);
      await this.#source.read(fileOffsetBytes, memory.subarray(0, endBytes - fileOffsetBytes), signal);
      window = { startBytes: fileOffsetBytes, endBytes, memory };
      this.#window = window;
    }
    // At the end of the file it may be cut.
    return window.memory.slice(
      fileOffsetBytes - window.startBytes,
      Math.min(end, window.endBytes) - window.startBytes,
    );
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
