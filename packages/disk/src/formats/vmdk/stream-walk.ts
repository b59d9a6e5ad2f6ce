import { isZero, viewOf } from '../../bytes/fields.ts';
import { compressedBytesMax, GRAIN_MARKER_BYTES, grainDataBytes } from '../../bytes/grain-marker.ts';
import { ceilDivide, roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { byteChunks } from '../../io/byte-chunks.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { decodeEntries } from './directory.ts';
import { directoryEntryCount, type SparseHeader, tableSectors } from './header.ts';
import { footerProblem, MARKER_TYPE, parseFooter } from './markers.ts';
import { StreamChecks } from './stream-checks.ts';

/** A grain directory is taken in pieces of this size. */
const PIECE_BYTES = 256 * 1024;

/** A grain that a marker told of. */
export interface WalkedGrain {
  readonly grain: number;
  readonly fileOffsetBytes: number;
  /** Marker and data. */
  readonly recordBytes: number;
}

/**
 * Goes over the records of a streamOptimized file from the first to the end of the stream, as VirtualBox reads
 * one out of an OVA. Every step goes forward by a sector at least. What tables and footer say is compared with
 * the grains that came.
 */
export class StreamWalk {
  readonly #source: ByteSource;
  readonly #header: SparseHeader;
  readonly #checks: StreamChecks;
  readonly #capacityGrains: number;
  #at: number;
  #lastGrain = -1;
  #hasFooter = false;

  constructor(source: ByteSource, header: SparseHeader) {
    this.#source = source;
    this.#header = header;
    this.#checks = new StreamChecks(header);
    this.#capacityGrains = ceilDivide(header.capacitySectors, header.grainSectors);
    this.#at = startSector(header) * SECTOR_BYTES;
  }

  /** The next grain; undefined at the end of the stream. Not to be asked again after that. */
  async next(signal?: AbortSignal): Promise<WalkedGrain | undefined> {
    for (;;) {
      signal?.throwIfAborted();
      const marker = await this.#sector(signal);
      const dataBytes = grainDataBytes(marker);
      if (dataBytes > 0) return this.#grain(marker, dataBytes);
      const type = viewOf(marker).getUint32(12, true);
      if (type === MARKER_TYPE.endOfStream) {
        this.#end(marker);
        return undefined;
      }
      await this.#metadata(marker, type, signal);
    }
  }

  #grain(marker: Uint8Array, dataBytes: number): WalkedGrain {
    const { grainSectors } = this.#header;
    const fileOffsetBytes = this.#at;
    const lba = viewOf(marker).getBigUint64(0, true);
    const grain = Number(lba / BigInt(grainSectors));
    if (this.#checks.hasDirectory) this.#refuse('a grain comes after the grain directory');
    if (lba % BigInt(grainSectors) !== 0n || grain >= this.#capacityGrains) {
      this.#refuse(`a grain's marker says sector ${lba}, where no grain of the disk begins`);
    }
    if (grain <= this.#lastGrain) {
      const code = grain === this.#lastGrain ? 'IMAGE_MALFORMED' : 'IMAGE_NOT_SEQUENTIAL';
      this.#refuse(`the grain for sector ${lba} comes after a later one`, code);
    }
    if (dataBytes > compressedBytesMax(grainSectors * SECTOR_BYTES)) {
      this.#refuse(`the compressed grain for sector ${lba} has ${dataBytes} bytes, more than twice a grain`);
    }
    const recordBytes = GRAIN_MARKER_BYTES + dataBytes;
    if (fileOffsetBytes + recordBytes > this.#source.lengthBytes) this.#refuseEnd();
    this.#checks.grain(grain, fileOffsetBytes / SECTOR_BYTES);
    this.#lastGrain = grain;
    this.#at += roundUp(recordBytes, SECTOR_BYTES);
    return { grain, fileOffsetBytes, recordBytes };
  }

  async #metadata(marker: Uint8Array, type: number, signal: AbortSignal | undefined): Promise<void> {
    const sectorCount = viewOf(marker).getBigUint64(0, true);
    const markerSector = this.#at / SECTOR_BYTES;
    const requireSectors = (expected: number) => {
      if (sectorCount === BigInt(expected)) return;
      this.#refuse(`a marker of type ${type} announces ${sectorCount} sectors, not ${expected}`);
    };
    if (this.#hasFooter) this.#refuse(`a marker of type ${type} comes after the footer`);
    this.#at += SECTOR_BYTES;
    switch (type) {
      case MARKER_TYPE.grainTable: {
        requireSectors(tableSectors(this.#header));
        if (this.#checks.hasDirectory) this.#refuse('a grain table comes after the grain directory');
        const bytes = await this.#bytes(Number(sectorCount) * SECTOR_BYTES, signal);
        this.#checks.table(markerSector + 1, bytes);
        break;
      }
      case MARKER_TYPE.grainDirectory:
        requireSectors(ceilDivide(directoryEntryCount(this.#header) * 4, SECTOR_BYTES));
        if (this.#checks.hasDirectory) this.#refuse('a second grain directory comes');
        await this.#directory(markerSector + 1, signal);
        break;
      case MARKER_TYPE.footer: {
        requireSectors(1);
        const footer = parseFooter(await this.#bytes(SECTOR_BYTES, signal), this.#at - SECTOR_BYTES);
        const problem = footerProblem(footer, this.#header);
        if (problem !== undefined) this.#refuse(problem);
        this.#checks.footer(markerSector + 1, footer);
        this.#hasFooter = true;
        break;
      }
      case MARKER_TYPE.progress:
        break;
      default:
        this.#refuse(`a marker has the unknown type ${type}`);
    }
  }

  async #directory(sector: number, signal: AbortSignal | undefined): Promise<void> {
    const entryCount = directoryEntryCount(this.#header);
    const entriesAtOnce = PIECE_BYTES / 4;
    for (let first = 0; first < entryCount; first += entriesAtOnce) {
      const count = Math.min(entriesAtOnce, entryCount - first);
      const bytes = await this.#bytes(roundUp(count * 4, SECTOR_BYTES), signal);
      this.#checks.directory(sector, first, decodeEntries(bytes.subarray(0, count * 4)));
    }
  }

  #end(marker: Uint8Array): void {
    if (!isZero(marker)) this.#refuse('the end of the stream is not all zeros');
    if (this.#header.directorySector === undefined && !this.#hasFooter) {
      this.#refuse('the stream ends without the footer that its header promises');
    }
    this.#at += SECTOR_BYTES;
  }

  /** Takes in what follows the end of the stream: some writers pad the file with zeros. */
  async finish(signal?: AbortSignal): Promise<void> {
    for await (const bytes of byteChunks(this.#source, this.#at, signal)) {
      if (!isZero(bytes)) this.#refuse('data follows the end of the stream');
      this.#at += bytes.length;
    }
  }

  /** The sector where the walk stands. Nothing behind it is asked for: it may be the last. */
  async #sector(signal: AbortSignal | undefined): Promise<Uint8Array> {
    if (this.#at + SECTOR_BYTES > this.#source.lengthBytes) this.#refuseEnd();
    const bytes = new Uint8Array(SECTOR_BYTES);
    await this.#source.read(this.#at, bytes, signal);
    return bytes;
  }

  /** The next bytes; the walk goes behind them. */
  async #bytes(lengthBytes: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
    if (this.#at + lengthBytes > this.#source.lengthBytes) this.#refuseEnd();
    const bytes = new Uint8Array(lengthBytes);
    await this.#source.read(this.#at, bytes, signal);
    this.#at += lengthBytes;
    return bytes;
  }

  #refuse(message: string, code: ImageErrorCode = 'IMAGE_MALFORMED'): never {
    throw new ImageError(code, message, {
      structure: 'VMDK stream',
      offsetBytes: this.#at,
      hint:
        code === 'IMAGE_NOT_SEQUENTIAL'
          ? 'put the file where it can be read at any offset'
          : 'the file is damaged: copy or download it again',
    });
  }

  #refuseEnd(): never {
    throw new ImageError(
      'IMAGE_TRUNCATED',
      `${this.#source.name} ends before the end of its stream, which a sector of zeros marks`,
      { structure: 'VMDK stream', offsetBytes: this.#at },
    );
  }
}

/** Where the first record stands: overHead, or for writers that leave that out where they all begin. */
function startSector(header: SparseHeader): number {
  const start = header.overheadSectors === 0 ? 128 : header.overheadSectors;
  if (start >= Math.max(1, header.descriptorSector + header.descriptorSectorCount)) return start;
  throw new ImageError('IMAGE_MALFORMED', `the records of the stream begin inside its descriptor`, {
    structure: 'VMDK sparse header',
    offsetBytes: 64,
  });
}
