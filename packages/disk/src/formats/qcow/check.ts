import { viewOf } from '../../bytes/fields.ts';
import { ceilDivide, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { Findings } from '../findings.ts';
import type { CheckReport, OpenOptions } from '../format.ts';
import { compressedPlace, HEADER_BYTES, type QcowHeader, readHeader } from './header.ts';
import { CHECK_SECTOR_COUNT_MAX } from './limits.ts';
import { QcowTables } from './tables.ts';

const L1_STRUCTURE = 'qcow L1 table';
const L2_STRUCTURE = 'qcow L2 table';
const DATA_STRUCTURE = 'qcow data cluster';
const COMPRESSED_STRUCTURE = 'qcow compressed cluster';

/**
 * Walks every table: entries that are unaligned or beyond the end of the file are corruption, and so is what
 * stands on top of something else. The format has no refcounts, so nothing can leak. Throws ImageError only
 * where no walk is possible: the header, the extent of the L1 table.
 */
export async function checkQcow(source: ByteSource, options: OpenOptions): Promise<CheckReport> {
  const { signal } = options;
  const header = await readHeader(source, signal);
  const findings = new Findings();
  const walk = new TableWalk(source, header, findings);
  const tables = new QcowTables(source, header);
  const l2Offsets: number[] = [];
  for (let index = 0; index < header.l1EntryCount; ) {
    signal?.throwIfAborted();
    const { page, firstEntry, entryCount } = await tables.l1Page(index, signal);
    for (; index < firstEntry + entryCount; index++) {
      const at = (index - firstEntry) * 8;
      const offsetBytes = walk.l2Place(page.getUint32(at), page.getUint32(at + 4), index);
      if (offsetBytes !== undefined) l2Offsets.push(offsetBytes);
    }
  }
  for (const offsetBytes of l2Offsets) await walk.l2(offsetBytes, signal);
  return findings.report('qcow');
}

/** Each sector of the file belongs to one structure; compressed clusters may share their first and last ones. */
class TableWalk {
  readonly #source: ByteSource;
  readonly #header: QcowHeader;
  readonly #findings: Findings;
  readonly #taken: Uint8Array;

  constructor(source: ByteSource, header: QcowHeader, findings: Findings) {
    const sectorCount = ceilDivide(source.lengthBytes, SECTOR_BYTES);
    if (sectorCount > CHECK_SECTOR_COUNT_MAX) {
      throw new ImageError('IMAGE_LIMIT', `a check of ${sectorCount} sectors would take too much memory`, {
        structure: 'qcow file length',
      });
    }
    this.#source = source;
    this.#header = header;
    this.#findings = findings;
    this.#taken = new Uint8Array(ceilDivide(sectorCount, 8));
    this.#claim(0, HEADER_BYTES);
    this.#claim(header.l1OffsetBytes, header.l1EntryCount * 8);
  }

  /** Where the L2 table of an L1 entry stands, when it can be walked. */
  l2Place(high: number, low: number, index: number): number | undefined {
    const at = this.#header.l1OffsetBytes + index * 8;
    if (high === 0 && low === 0) return undefined;
    const offsetBytes = this.#aligned(high, low, L1_STRUCTURE, at);
    if (offsetBytes === undefined) return undefined;
    if (offsetBytes + this.#header.l2TableBytes > this.#source.lengthBytes) {
      this.#corruption(L1_STRUCTURE, `the file ends before an L2 table at ${offsetBytes}`, at);
      return undefined;
    }
    if (this.#claim(offsetBytes, this.#header.l2TableBytes)) return offsetBytes;
    this.#corruption(L2_STRUCTURE, 'it stands on top of another table', offsetBytes);
    return undefined;
  }

  async l2(tableOffset: number, signal?: AbortSignal): Promise<void> {
    const { clusterBits, clusterBytes, l2EntryCount, l2TableBytes } = this.#header;
    const table = viewOf(await readStructure(this.#source, tableOffset, l2TableBytes, L2_STRUCTURE, signal));
    for (let i = 0; i < l2EntryCount; i++) {
      const high = table.getUint32(i * 8);
      const low = table.getUint32(i * 8 + 4);
      const at = tableOffset + i * 8;
      if (high === 0 && low === 0) continue;
      if (high >= 2 ** 31) {
        const { hostBytes, storedBytes } = compressedPlace(high, low, clusterBits);
        this.#compressed(hostBytes, storedBytes, at);
        continue;
      }
      const hostBytes = this.#aligned(high, low, L2_STRUCTURE, at);
      if (hostBytes === undefined) continue;
      // The file may end inside of its last cluster.
      if (hostBytes >= this.#source.lengthBytes) {
        this.#corruption(DATA_STRUCTURE, `it stands at ${hostBytes}, beyond the end of the file`, at);
      } else if (!this.#claim(hostBytes, clusterBytes)) {
        this.#corruption(DATA_STRUCTURE, `what stands at ${hostBytes} belongs to something else too`, at);
      }
    }
  }

  #compressed(hostBytes: number, storedBytes: number, at: number): void {
    const end = hostBytes + storedBytes;
    if (storedBytes === 0) this.#corruption(L2_STRUCTURE, 'a compressed cluster has no bytes', at);
    else if (end > this.#source.lengthBytes) {
      this.#corruption(COMPRESSED_STRUCTURE, `it ends at ${end}, beyond the end of the file`, at);
    } else {
      // Whole sectors alone: a writer may pack clusters to the byte.
      const first = ceilDivide(hostBytes, SECTOR_BYTES) * SECTOR_BYTES;
      const wholeBytes = end - (end % SECTOR_BYTES) - first;
      if (wholeBytes > 0 && !this.#claim(first, wholeBytes)) {
        this.#corruption(
          COMPRESSED_STRUCTURE,
          `what stands at ${hostBytes} belongs to something else too`,
          at,
        );
      }
    }
  }

  #aligned(high: number, low: number, structure: string, at: number): number | undefined {
    const hostBytes = high * 2 ** 32 + low;
    if (high < 2 ** 21 && hostBytes % SECTOR_BYTES === 0) return hostBytes;
    this.#corruption(structure, `an entry names ${hostBytes}, which cannot be a place`, at);
    return undefined;
  }

  /** Takes the sectors that a range touches; false when one is taken already. */
  #claim(offsetBytes: number, lengthBytes: number): boolean {
    const end = ceilDivide(Math.min(offsetBytes + lengthBytes, this.#source.lengthBytes), SECTOR_BYTES);
    let isFree = true;
    for (let sector = Math.floor(offsetBytes / SECTOR_BYTES); sector < end; sector++) {
      const byte = Math.floor(sector / 8);
      const bit = 1 << (sector % 8);
      const taken = this.#taken[byte] ?? 0;
      if ((taken & bit) !== 0) isFree = false;
      this.#taken[byte] = taken | bit;
    }
    return isFree;
  }

  #corruption(structure: string, message: string, offsetBytes: number): void {
    this.#findings.add('corruption', structure, message, offsetBytes);
  }
}
