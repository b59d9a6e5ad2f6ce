import type { StoredRun } from '../../disk/disk.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import type { CompressedRun, GrainRun } from './runs.ts';

/** One extent of a disk. Offsets count from its start. */
export interface ExtentPart {
  readonly lengthBytes: number;
  /** Where the data of its runs stands; absent where it has none. */
  readonly source?: ByteSource | undefined;
  /** The runs that cover [from, to), in order; the first and the last may reach beyond. */
  runs(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<readonly GrainRun[], void, undefined>;
  /** Fills the parts of `into`, which stands for the extent from `offsetBytes`, that lie in these grains. */
  readCompressed?(
    runs: readonly CompressedRun[],
    offsetBytes: number,
    into: Uint8Array,
    signal?: AbortSignal,
  ): Promise<void>;
  /** A compressed grain as it is stored. */
  storedGrain?(run: CompressedRun, signal?: AbortSignal): Promise<StoredRun>;
  /** Takes in the rest of an arriving file, and throws where it does not end as it should. */
  drain?(signal?: AbortSignal): Promise<void>;
}
