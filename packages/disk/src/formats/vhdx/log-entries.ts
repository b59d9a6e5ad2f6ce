import { crc32c } from '../../bytes/crc32c.ts';
import { hasMagic, viewOf } from '../../bytes/fields.ts';
import { ceilDivide, KIB } from '../../bytes/numbers.ts';
import { guidAt } from './guids.ts';

export const LOG_STRUCTURE = 'VHDX log';
/** The log is a ring of sectors; what it writes are pages of the same length (MS-VHDX 2.3.1). */
export const LOG_SECTOR_BYTES: number = 4 * KIB;
const ENTRY_HEADER_BYTES = 64;
const DESCRIPTOR_BYTES = 32;
const DESCRIPTORS_A_SECTOR = LOG_SECTOR_BYTES / DESCRIPTOR_BYTES;
const DESCRIPTORS_IN_FIRST = (LOG_SECTOR_BYTES - ENTRY_HEADER_BYTES) / DESCRIPTOR_BYTES;

/** One write of the log to the file. */
export type LogWrite =
  | { readonly kind: 'zero'; readonly offsetBytes: bigint; readonly lengthBytes: bigint }
  | {
      readonly kind: 'page';
      readonly offsetBytes: bigint;
      /** Sector of the log with the page, whose first 8 and last 4 bytes are the next two. */
      readonly sector: Uint8Array;
      readonly leading: Uint8Array;
      readonly trailing: Uint8Array;
    };

/** An entry of the log that is whole: all its signatures, numbers and its checksum are right. */
export interface LogEntry {
  /** Index of its first sector in the log. */
  readonly index: number;
  readonly sectorCount: number;
  /** Index of the first entry of the sequence that this one ends. */
  readonly tailIndex: number;
  readonly sequenceNumber: bigint;
  readonly descriptorCount: number;
  readonly flushedFileBytes: bigint;
  readonly lastFileBytes: bigint;
}

/** The bytes of a log as the ring of sectors that it is. */
export class LogRing {
  readonly sectorCount: number;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.sectorCount = bytes.length / LOG_SECTOR_BYTES;
    this.#bytes = bytes;
  }

  sector(index: number): Uint8Array {
    const start = (index % this.sectorCount) * LOG_SECTOR_BYTES;
    return this.#bytes.subarray(start, start + LOG_SECTOR_BYTES);
  }

  /**
   * The entries that have to be replayed, first to last: the sequence without gaps whose last entry names its
   * first one as its tail; of several the one that ends in the greatest sequence number (MS-VHDX 2.3.2). Empty
   * when there is none. Takes time as the log is long, whatever stands in it.
   */
  activeSequence(logGuid: string): readonly LogEntry[] {
    const entries = new Map<number, LogEntry>();
    for (let index = 0; index < this.sectorCount; index++) {
      const entry = this.#entryAt(index, logGuid);
      if (entry !== undefined) entries.set(index, entry);
    }
    const follower = ({ index, sectorCount, sequenceNumber }: LogEntry): LogEntry | undefined => {
      const next = entries.get((index + sectorCount) % this.sectorCount);
      return next?.sequenceNumber === sequenceNumber + 1n ? next : undefined;
    };
    const heads = [...entries.values()].filter((entry) => follower(entry) === undefined);
    heads.sort((a, b) => (a.sequenceNumber < b.sequenceNumber ? 1 : -1));
    for (const head of heads) {
      const sequence: LogEntry[] = [];
      for (let entry = entries.get(head.tailIndex); entry !== undefined; entry = follower(entry)) {
        sequence.push(entry);
      }
      if (sequence.at(-1) === head) return sequence;
    }
    return [];
  }

  /**
   * The whole entry that begins at this sector. No sector inside an entry begins as an entry does, so however
   * the bytes were made, each is looked at a fixed number of times.
   */
  #entryAt(index: number, logGuid: string): LogEntry | undefined {
    const header = this.sector(index);
    if (!hasMagic(header, 'loge') || guidAt(header, 32) !== logGuid) return undefined;
    const view = viewOf(header);
    const lengthBytes = view.getUint32(8, true);
    const tailBytes = view.getUint32(12, true);
    const entry: LogEntry = {
      index,
      sectorCount: lengthBytes / LOG_SECTOR_BYTES,
      tailIndex: tailBytes / LOG_SECTOR_BYTES,
      sequenceNumber: view.getBigUint64(16, true),
      descriptorCount: view.getUint32(24, true),
      flushedFileBytes: view.getBigUint64(48, true),
      lastFileBytes: view.getBigUint64(56, true),
    };
    if (lengthBytes === 0 || !Number.isInteger(entry.sectorCount)) return undefined;
    if (entry.sectorCount > this.sectorCount) return undefined;
    if (!Number.isInteger(entry.tailIndex) || entry.tailIndex >= this.sectorCount) return undefined;
    if (entry.sequenceNumber === 0n) return undefined;
    if (!this.#hasSoundSectors(entry)) return undefined;
    return view.getUint32(4, true) === this.#checksum(entry) ? entry : undefined;
  }

  /** True when every descriptor and every data sector is one, and belongs to this entry. */
  #hasSoundSectors(entry: LogEntry): boolean {
    const { index, sectorCount, sequenceNumber, descriptorCount } = entry;
    const descriptorSectors = descriptorSectorsOf(descriptorCount);
    if (descriptorSectors > sectorCount) return false;
    let dataCount = 0;
    for (let i = 0; i < descriptorCount; i++) {
      const descriptor = this.#descriptor(entry, i);
      const view = viewOf(descriptor);
      const isData = hasMagic(descriptor, 'desc');
      if (!isData && !hasMagic(descriptor, 'zero')) return false;
      if (view.getBigUint64(24, true) !== sequenceNumber) return false;
      if (view.getUint32(16, true) % LOG_SECTOR_BYTES !== 0) return false;
      if (!isData && view.getUint32(8, true) % LOG_SECTOR_BYTES !== 0) return false;
      if (isData) dataCount++;
    }
    const dataEnd = descriptorSectors + dataCount;
    if (dataEnd > sectorCount) return false;
    for (let i = descriptorSectors; i < sectorCount; i++) {
      const sector = this.sector(index + i);
      if (i < dataEnd ? !isDataSector(sector, sequenceNumber) : hasMagic(sector, 'loge')) return false;
    }
    return true;
  }

  #descriptor({ index }: LogEntry, i: number): Uint8Array {
    // The header takes the place of the first two.
    const place = i + DESCRIPTORS_A_SECTOR - DESCRIPTORS_IN_FIRST;
    const start = (place % DESCRIPTORS_A_SECTOR) * DESCRIPTOR_BYTES;
    const sector = this.sector(index + Math.floor(place / DESCRIPTORS_A_SECTOR));
    return sector.subarray(start, start + DESCRIPTOR_BYTES);
  }

  #checksum({ index, sectorCount }: LogEntry): number {
    const header = this.sector(index);
    let crc = crc32c(new Uint8Array(4), crc32c(header.subarray(0, 4)));
    crc = crc32c(header.subarray(8), crc);
    for (let i = 1; i < sectorCount; i++) crc = crc32c(this.sector(index + i), crc);
    return crc;
  }

  /** What the entry writes, in order. */
  *writes(entry: LogEntry): Generator<LogWrite, void, undefined> {
    let dataIndex = entry.index + descriptorSectorsOf(entry.descriptorCount);
    for (let i = 0; i < entry.descriptorCount; i++) {
      const descriptor = this.#descriptor(entry, i);
      const view = viewOf(descriptor);
      const offsetBytes = view.getBigUint64(16, true);
      if (hasMagic(descriptor, 'zero')) {
        yield { kind: 'zero', offsetBytes, lengthBytes: view.getBigUint64(8, true) };
      } else {
        yield {
          kind: 'page',
          offsetBytes,
          sector: this.sector(dataIndex++),
          leading: descriptor.subarray(8, 16),
          trailing: descriptor.subarray(4, 8),
        };
      }
    }
  }
}

function descriptorSectorsOf(descriptorCount: number): number {
  return 1 + ceilDivide(Math.max(0, descriptorCount - DESCRIPTORS_IN_FIRST), DESCRIPTORS_A_SECTOR);
}

function isDataSector(sector: Uint8Array, sequenceNumber: bigint): boolean {
  const view = viewOf(sector);
  return (
    hasMagic(sector, 'data') &&
    view.getUint32(4, true) === Number(sequenceNumber >> 32n) &&
    view.getUint32(LOG_SECTOR_BYTES - 4, true) === Number(sequenceNumber & 0xffffffffn)
  );
}
