import { forEachBounded } from '../../convert/bounded.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import type { Compression } from '../../io/codec.ts';
import { decompress } from '../../io/node-codec.ts';
import { CLUSTER_CACHE_BYTES } from './limits.ts';

/** Compressed clusters that stand closer than this in the file are fetched with one read. */
const GAP_BYTES = 4096;
/** Most bytes of one such read. */
const GROUP_BYTES = 2 * 1024 * 1024;
const DECOMPRESSIONS_AT_ONCE = 16;

/** One compressed cluster: `offsetBytes` is its start in the guest, whatever part of it was asked for. */
export interface CompressedRun {
  readonly kind: 'compressed';
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly hostBytes: number;
  /** Room that holds the data: at least as long as it. */
  readonly storedBytes: number;
}

interface StoredCluster {
  readonly run: CompressedRun;
  readonly stored: Uint8Array;
}

/** Reads compressed clusters of a file, of qcow as of qcow2. */
export class CompressedClusters {
  readonly #source: ByteSource;
  readonly #compression: Compression;
  readonly #clusterBytes: number;
  readonly #structure: string;
  /** Clusters of which only a part was asked for, by their offset in the disk: the rest mostly comes next. */
  readonly #cache = new Map<number, Uint8Array>();

  constructor(source: ByteSource, compression: Compression, clusterBytes: number, structure: string) {
    this.#source = source;
    this.#compression = compression;
    this.#clusterBytes = clusterBytes;
    this.#structure = structure;
  }

  /** Fills the parts of `into`, which stands for the disk from `offsetBytes`, that lie in these clusters. */
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
    await forEachBounded(this.#fetch(missing, signal), DECOMPRESSIONS_AT_ONCE, async ({ run, stored }) => {
      signal?.throwIfAborted();
      const structure = this.#structure;
      const plain = await decompress(this.#compression, stored, this.#clusterBytes, structure, run.hostBytes);
      place(run, plain);
      if (run.offsetBytes < offsetBytes || run.offsetBytes + run.lengthBytes > end) this.#keep(run, plain);
    });
  }

  #keep(run: CompressedRun, plain: Uint8Array): void {
    this.#cache.delete(run.offsetBytes);
    this.#cache.set(run.offsetBytes, plain);
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size * this.#clusterBytes <= CLUSTER_CACHE_BYTES) break;
      this.#cache.delete(oldest);
    }
  }

  /** Fetches neighbours together: compressed clusters are small and mostly stand in guest order. */
  async *#fetch(
    runs: readonly CompressedRun[],
    signal?: AbortSignal,
  ): AsyncGenerator<StoredCluster, void, undefined> {
    for (let first = 0; first < runs.length; ) {
      const start = runs[first]?.hostBytes ?? 0;
      let end = start;
      let next = first;
      for (let run = runs[next]; run !== undefined; run = runs[++next]) {
        const runEnd = run.hostBytes + run.storedBytes;
        if (next > first) {
          if (run.hostBytes < start || run.hostBytes > end + GAP_BYTES) break;
          if (runEnd - start > GROUP_BYTES) break;
        }
        end = Math.max(end, runEnd);
      }
      const bytes = new Uint8Array(end - start);
      await this.#source.read(start, bytes, signal);
      for (const run of runs.slice(first, next)) {
        const at = run.hostBytes - start;
        yield { run, stored: bytes.subarray(at, at + run.storedBytes) };
      }
      first = next;
    }
  }
}
