import { viewOf } from '../../bytes/fields.ts';
import type { ExtentKind } from '../../disk/disk.ts';
import type { ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import type { VdiHeader } from './header.ts';

/** `VDI_IMAGE_BLOCK_FREE`: never written; reads zero in a base image. */
export const BLOCK_FREE = 0xffffffff;
/** `VDI_IMAGE_BLOCK_ZERO`: known to be zero. */
const BLOCK_ZERO = 0xfffffffe;

export const MAP_STRUCTURE = 'VDI block map';

/** An entry of the map that cannot be right. */
export interface MapDamage {
  readonly code: ImageErrorCode;
  readonly message: string;
  readonly offsetBytes: number;
}

/** Guest bytes that follow each other in the file too, or that are stored nowhere. */
export interface BlockRun {
  readonly fileOffsetBytes: number | undefined;
  readonly lengthBytes: number;
}

/** The block map, resident: 4 bytes a block. */
export class VdiBlockMap {
  readonly #header: VdiHeader;
  readonly #entries: DataView;

  private constructor(header: VdiHeader, entries: DataView) {
    this.#header = header;
    this.#entries = entries;
  }

  /** Reads the map; its entries are not checked. Throws IMAGE_TRUNCATED when the file ends before it does. */
  static async read(source: ByteSource, header: VdiHeader, signal?: AbortSignal): Promise<VdiBlockMap> {
    const { mapOffsetBytes, blockCount } = header;
    const bytes = await readStructure(source, mapOffsetBytes, blockCount * 4, MAP_STRUCTURE, signal);
    return new VdiBlockMap(header, viewOf(bytes));
  }

  entry(block: number): number {
    return this.#entries.getUint32(block * 4, true);
  }

  kind(block: number): ExtentKind {
    const entry = this.entry(block);
    if (entry < BLOCK_ZERO) return 'data';
    return entry === BLOCK_ZERO ? 'zero' : 'hole';
  }

  /** The run at `offsetBytes` of the guest, at most `maximumBytes` long; both lie inside the disk. */
  run(offsetBytes: number, maximumBytes: number): BlockRun {
    const { blockBytes, blockExtraBytes } = this.#header;
    const within = offsetBytes % blockBytes;
    const first = (offsetBytes - within) / blockBytes;
    const entry = this.entry(first);
    const stored = entry < BLOCK_ZERO;
    let lengthBytes = blockBytes - within;
    for (let block = first + 1; lengthBytes < maximumBytes; block++) {
      const next = this.entry(block);
      // Extra bytes before every block keep even neighbours apart.
      if (stored ? next !== entry + (block - first) || blockExtraBytes > 0 : next < BLOCK_ZERO) break;
      lengthBytes += blockBytes;
    }
    return {
      fileOffsetBytes: stored ? this.#dataStart(entry) + within : undefined,
      lengthBytes: Math.min(lengthBytes, maximumBytes),
    };
  }

  #dataStart(entry: number): number {
    const { dataOffsetBytes, blockBytes, blockExtraBytes } = this.#header;
    return dataOffsetBytes + entry * (blockBytes + blockExtraBytes) + blockExtraBytes;
  }

  /**
   * What is wrong in the map, entry by entry: positions that do not exist, blocks that are used twice, blocks
   * that the file does not hold as far as the disk shows them.
   */
  *damage(fileLengthBytes: number): Generator<MapDamage, void, undefined> {
    const { blockBytes, blockCount, virtualSizeBytes, mapOffsetBytes } = this.#header;
    const seen = new Uint8Array(Math.ceil(blockCount / 8));
    for (let block = 0; block < blockCount; block++) {
      const entry = this.entry(block);
      if (entry >= BLOCK_ZERO) continue;
      const offsetBytes = mapOffsetBytes + block * 4;
      if (entry >= blockCount) {
        const message = `block ${block} is said to be at position ${entry}, beyond the ${blockCount} that exist`;
        yield { code: 'IMAGE_MALFORMED', message, offsetBytes };
        continue;
      }
      const byte = Math.floor(entry / 8);
      const bits = seen[byte] ?? 0;
      const bit = 1 << (entry % 8);
      if ((bits & bit) !== 0) {
        const message = `block ${block} shares position ${entry} with another block`;
        yield { code: 'IMAGE_MALFORMED', message, offsetBytes };
      }
      seen[byte] = bits | bit;
      const shownBytes = Math.min(blockBytes, virtualSizeBytes - block * blockBytes);
      const end = this.#dataStart(entry) + shownBytes;
      if (shownBytes > 0 && end > fileLengthBytes) {
        const message = `block ${block} ends at byte ${end}, but the file at ${fileLengthBytes}`;
        yield { code: 'IMAGE_TRUNCATED', message, offsetBytes };
      }
    }
  }

  /** How many blocks are stored, and the first position after them. */
  usage(): { storedCount: number; endPosition: number } {
    let storedCount = 0;
    let endPosition = 0;
    for (let block = 0; block < this.#header.blockCount; block++) {
      const entry = this.entry(block);
      if (entry >= BLOCK_ZERO) continue;
      storedCount++;
      endPosition = Math.max(endPosition, entry + 1);
    }
    return { storedCount, endPosition };
  }
}
