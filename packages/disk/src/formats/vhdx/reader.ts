import { forEachBounded } from '../../convert/bounded.ts';
import type { Disk, Extent, StoredRun } from '../../disk/disk.ts';
import { parentExtents, parentRuns } from '../../disk/parent-runs.ts';
import { sourceExtents, sourceRuns } from '../../disk/source-runs.ts';
import { ImageError, invariant } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { readZeroExtended } from '../../view/view.ts';
import type { OpenOptions } from '../format.ts';
import { type OpenedReference, openReference } from '../reference.ts';
import { TABLE_STRUCTURE, type VhdxBlockTable } from './block-table.ts';
import { blockTableOf, imageWarnings, readVhdx, type VhdxImage } from './image.ts';
import { LOG_SECTOR_BYTES } from './log-entries.ts';
import { LOCATOR_STRUCTURE } from './parent-locator.ts';
import { SectorBitmaps, sectorSpans } from './sector-bitmap.ts';
import { requireStreamOrder } from './stream-order.ts';
import { FileClaims, tableDamage } from './table-damage.ts';

const READS_AT_ONCE = 16;

/**
 * Opens a fixed, dynamic or differencing VHDX image, its log replayed in memory, its parents through the gate.
 * Throws ImageError for all that could not be read right.
 */
export async function openVhdx(source: ByteSource, options: OpenOptions): Promise<Disk> {
  const image = await readVhdx(source, options.signal);
  const table = blockTableOf(image);
  const claims = new FileClaims(image);
  for await (const { code, message, offsetBytes } of tableDamage(image, table, claims, options.signal)) {
    throw new ImageError(code, message, { structure: TABLE_STRUCTURE, offsetBytes });
  }
  if (source.sequential === true) await requireStreamOrder(image, table, options.signal);
  return new VhdxDisk(image, table, await openParent(image, options));
}

async function openParent(image: VhdxImage, options: OpenOptions): Promise<OpenedReference | undefined> {
  const { parent } = image.metadata;
  if (parent === undefined) return undefined;
  // The type of the locator says what the parent is.
  const reference = {
    kind: 'parent',
    name: parent.name,
    format: 'vhdx',
    structure: LOCATOR_STRUCTURE,
  } as const;
  const opened = await openReference(image.stored, reference, options);
  const { dataWriteGuid } = opened.disk.details;
  if (typeof dataWriteGuid === 'string' && parent.linkages.includes(dataWriteGuid)) return opened;
  await opened.close();
  throw new ImageError(
    'IMAGE_REFERENCE',
    `the parent ${JSON.stringify(parent.name)} has the DataWriteGuid ${dataWriteGuid ?? 'of no VHDX file'}, and the image was made over ${parent.linkages[0]}`,
    {
      structure: LOCATOR_STRUCTURE,
      hint: 'supply the parent as it was when the differencing image was made over it',
    },
  );
}

/** A run of the disk: `data` stands at `fileBytes`, `absent` is what the parent shows. */
type VhdxRun =
  | { readonly kind: 'zero' | 'absent'; readonly offsetBytes: number; readonly endBytes: number }
  | {
      readonly kind: 'data';
      readonly offsetBytes: number;
      readonly endBytes: number;
      readonly fileBytes: number;
    };

function zeros({ offsetBytes, endBytes }: VhdxRun): Extent & StoredRun & { kind: 'zero' } {
  return { kind: 'zero', offsetBytes, lengthBytes: endBytes - offsetBytes };
}

class VhdxDisk implements Disk {
  readonly format = 'vhdx';
  readonly virtualSizeBytes: number;
  readonly details: Disk['details'];
  readonly warnings: readonly string[];
  readonly sequential?: boolean;
  readonly #image: VhdxImage;
  readonly #table: VhdxBlockTable;
  readonly #bitmaps: SectorBitmaps;
  readonly #parent: OpenedReference | undefined;
  /** Behind it, where the log says that the file was longer, is nothing but zeros. */
  readonly #contentEndBytes: number;

  constructor(image: VhdxImage, table: VhdxBlockTable, parent: OpenedReference | undefined) {
    this.virtualSizeBytes = image.metadata.virtualSizeBytes;
    this.details = detailsOf(image);
    this.warnings = imageWarnings(image);
    if (image.source.sequential === true) this.sequential = true;
    this.#image = image;
    this.#table = table;
    this.#bitmaps = new SectorBitmaps(image.source, table);
    this.#parent = parent;
    const lastPage = [...(image.replay?.pages.keys() ?? [])].at(-1) ?? 0;
    this.#contentEndBytes = Math.max(image.stored.lengthBytes, lastPage + LOG_SECTOR_BYTES);
  }

  async *extents(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Extent, void, undefined> {
    for await (const run of this.#runs(fromBytes, toBytes, signal)) {
      const { offsetBytes, endBytes } = run;
      if (run.kind === 'data') {
        const diskStart = run.fileBytes - offsetBytes;
        yield* sourceExtents(this.#image.source, diskStart, offsetBytes, endBytes, signal);
      } else if (run.kind === 'zero') yield zeros(run);
      else yield* parentExtents(this.#parent?.disk, offsetBytes, endBytes, signal);
    }
  }

  async *storedRuns(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<StoredRun, void, undefined> {
    for await (const run of this.#runs(fromBytes, toBytes, signal)) {
      const { offsetBytes, endBytes } = run;
      if (run.kind === 'data') {
        const diskStart = run.fileBytes - offsetBytes;
        yield* sourceRuns(this.#image.source, diskStart, offsetBytes, endBytes, signal);
      } else if (run.kind === 'zero') yield zeros(run);
      else yield* parentRuns(this.#parent?.disk, offsetBytes, endBytes, signal);
    }
  }

  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    // All runs are known before the first read begins: no read is left alone when a bitmap is refused.
    const reads: (() => Promise<void>)[] = [];
    for await (const run of this.#runs(offsetBytes, offsetBytes + into.length, signal)) {
      const part = into.subarray(run.offsetBytes - offsetBytes, run.endBytes - offsetBytes);
      const parent = this.#parent?.disk;
      if (run.kind === 'data') reads.push(() => this.#image.source.read(run.fileBytes, part, signal));
      else if (run.kind === 'zero' || parent === undefined) part.fill(0);
      else reads.push(() => readZeroExtended(parent, run.offsetBytes, part, signal));
    }
    await forEachBounded(reads, READS_AT_ONCE, (read) => read());
  }

  async close(): Promise<void> {
    await this.#parent?.close();
  }

  /** The runs that cover [from, to), in order. */
  async *#runs(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<VhdxRun, void, undefined> {
    invariant(toBytes <= this.virtualSizeBytes, 'a range lies inside the disk');
    const { blockBytes } = this.#table.geometry;
    if (fromBytes >= toBytes) return;
    const [first, end] = [Math.floor(fromBytes / blockBytes), Math.ceil(toBytes / blockBytes)];
    for await (const span of this.#table.spans(first, end, signal)) {
      const start = span.first * blockBytes;
      const offsetBytes = Math.max(fromBytes, start);
      const endBytes = Math.min(toBytes, span.end * blockBytes);
      if (span.kind === 'partial') {
        yield* this.#partialRuns(span.first, span.fileBytes, offsetBytes, endBytes);
      } else if (span.kind === 'full') {
        yield* this.#fullRuns(span.fileBytes + (offsetBytes - start), offsetBytes, endBytes);
      } else yield { kind: span.kind === 'absent' ? 'absent' : 'zero', offsetBytes, endBytes };
    }
  }

  *#fullRuns(fileBytes: number, offsetBytes: number, endBytes: number): Generator<VhdxRun, void, undefined> {
    const contentEnd = offsetBytes + Math.max(0, this.#contentEndBytes - fileBytes);
    const dataEnd = Math.min(endBytes, contentEnd);
    if (offsetBytes < dataEnd) yield { kind: 'data', offsetBytes, endBytes: dataEnd, fileBytes };
    if (dataEnd < endBytes) yield { kind: 'zero', offsetBytes: dataEnd, endBytes };
  }

  /** Of a block that is partially present: sectors without a bit are the parent's. */
  async *#partialRuns(
    block: number,
    blockFileBytes: number,
    fromBytes: number,
    toBytes: number,
  ): AsyncGenerator<VhdxRun, void, undefined> {
    const { logicalSectorBytes, blockBytes } = this.#image.metadata;
    const start = block * blockBytes;
    const bitmap = await this.#bitmaps.bitmap(block);
    const first = Math.floor((fromBytes - start) / logicalSectorBytes);
    const end = Math.ceil((toBytes - start) / logicalSectorBytes);
    for (const span of sectorSpans(bitmap, first, end)) {
      const offsetBytes = Math.max(fromBytes, start + span.first * logicalSectorBytes);
      const endBytes = Math.min(toBytes, start + span.end * logicalSectorBytes);
      if (!span.stored) yield { kind: 'absent', offsetBytes, endBytes };
      else yield { kind: 'data', offsetBytes, endBytes, fileBytes: blockFileBytes + (offsetBytes - start) };
    }
  }
}

function detailsOf({ headers, replay, metadata }: VhdxImage): Disk['details'] {
  const { current } = headers;
  const type = metadata.leaveBlocksAllocated ? 'fixed' : 'dynamic';
  return {
    type: metadata.parent === undefined ? type : 'differencing',
    creator: headers.creator,
    blockSizeBytes: metadata.blockBytes,
    logicalSectorSizeBytes: metadata.logicalSectorBytes,
    physicalSectorSizeBytes: metadata.physicalSectorBytes,
    virtualDiskId: metadata.virtualDiskId,
    fileWriteGuid: current.fileWriteGuid,
    dataWriteGuid: current.dataWriteGuid,
    log: replay === undefined ? 'empty' : 'to be replayed',
    logSizeBytes: current.logLengthBytes,
    parent: metadata.parent?.name ?? null,
  };
}
