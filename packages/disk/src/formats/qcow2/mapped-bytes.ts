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
  #plainBytes = 0;
  #compressedBytes = 0;

  /** `dataBytes` and `fileBytes` are the lengths of what holds plain clusters and of what holds compressed ones. */
  constructor(dataBytes: number, fileBytes: number, clusterBytes: number, compression: Compression) {
    // The last cluster may end beyond the end of the file.
    this.#plainLimit = dataBytes + clusterBytes;
    this.#compressedLimit = fileBytes + clusterBytes;
    // A zstd frame takes 4 bytes for each block of 128 KiB, and its header.
    this.#leastStoredBytes =
      compression === 'zstd'
        ? 6 + 4 * ceilDivide(clusterBytes, 131_072)
        : ceilDivide(clusterBytes, DEFLATE_RATIO_MAX);
  }

  addPlain(lengthBytes: number): void {
    this.#plainBytes += lengthBytes;
    if (this.#plainBytes > this.#plainLimit) refuse();
  }

  addCompressed(run: CompressedRun): void {
    this.#compressedBytes += Math.max(this.#leastStoredBytes, run.storedBytes - SHARED_BYTES_MAX);
    if (this.#compressedBytes > this.#compressedLimit) refuse();
  }
}

function refuse(): never {
  throw new ImageError('IMAGE_LIMIT', 'clusters of the disk share the same bytes of the file', {
    structure: 'qcow2 L2 tables',
    hint: 'the image is damaged or was made to do harm: do not use it',
  });
}
