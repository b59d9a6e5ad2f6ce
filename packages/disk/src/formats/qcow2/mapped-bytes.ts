import { ceilDivide } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import type { Compression } from '../../io/codec.ts';
import type { CompressedRun } from './compressed-clusters.ts';
import { DEFLATE_RATIO_MAX } from './limits.ts';

/** A compressed cluster shares its last sector with the next one: so much of its room may be another's. */
const SHARED_BYTES_MAX = 511;

/**
 * What one walk over a disk has mapped of its file. In a sound image no two clusters of the guest share bytes of
 * the file, so that a walk never maps more than there is; a file that was made to be much more work than its size
 * explains is refused when it has.
 */
export class MappedBytes {
  readonly #plainLimit: number;
  readonly #compressedLimit: number;
  readonly #leastStoredBytes: number;
  readonly #structure: string;
  #plainBytes = 0;
  #compressedBytes = 0;
  #tableBytes = 0;
  #last: CompressedRun | undefined;

  /** `dataBytes` and `fileBytes` are the lengths of what holds plain clusters and of what holds compressed ones. */
  constructor(
    dataBytes: number,
    fileBytes: number,
    clusterBytes: number,
    compression: Compression,
    structure: string,
  ) {
    this.#structure = structure;
    // The last cluster may end beyond the end of the file.
    this.#plainLimit = dataBytes + clusterBytes;
    this.#compressedLimit = fileBytes + clusterBytes;
    // A zstd frame takes 4 bytes for each block of 128 KiB, and its header.
    this.#leastStoredBytes =
      compression === 'zstd'
        ? 6 + 4 * ceilDivide(clusterBytes, 131_072)
        : ceilDivide(clusterBytes, DEFLATE_RATIO_MAX);
  }

  /** An L2 table; where none is named twice it need not be told. */
  addTable(lengthBytes: number): void {
    this.#tableBytes += lengthBytes;
    if (this.#tableBytes > this.#compressedLimit) this.#refuse();
  }

  addPlain(lengthBytes: number): void {
    this.#plainBytes += lengthBytes;
    if (this.#plainBytes > this.#plainLimit) this.#refuse();
  }

  addCompressed(run: CompressedRun): void {
    if (this.#last !== undefined && overlap(this.#last, run)) this.#refuse();
    this.#last = run;
    this.#compressedBytes += Math.max(this.#leastStoredBytes, run.storedBytes - SHARED_BYTES_MAX);
    if (this.#compressedBytes > this.#compressedLimit) this.#refuse();
  }

  #refuse(): never {
    throw new ImageError('IMAGE_LIMIT', 'clusters of the disk share the same bytes of the file', {
      structure: this.#structure,
      hint: 'the image is damaged or was made to do harm: do not use it',
    });
  }
}

/** Beyond what neighbours share: the cheapest of what is made to do harm is one cluster again and again. */
function overlap(a: CompressedRun, b: CompressedRun): boolean {
  if (a.hostBytes === b.hostBytes) return true;
  const from = Math.max(a.hostBytes, b.hostBytes);
  const to = Math.min(a.hostBytes + a.storedBytes, b.hostBytes + b.storedBytes);
  return to - from > SHARED_BYTES_MAX;
}
