import { blockExtents } from '../../disk/block-extents.ts';
import type { Disk, Extent, StoredRun } from '../../disk/disk.ts';
import { parentExtents, parentRuns } from '../../disk/parent-runs.ts';
import { invariant } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { readZeroExtended } from '../../view/view.ts';
import type { VhdBlockTable } from './block-table.ts';
import type { VhdDynamicHeader } from './dynamic-header.ts';
import { endsWarnings, readArrivedEnd, type VhdEnds } from './ends.ts';
import { footerDetails, footerWarnings } from './footer.ts';
import type { VhdParent } from './parent.ts';
import { byteRuns, clearUnusedSectors, SectorBitmaps } from './sector-bitmap.ts';

/** Blocks from `first` on, up to `end`, that are stored or not; a stored one comes alone. */
interface BlockRun {
  readonly offsetBytes: number;
  readonly endBytes: number;
  /** Undefined when the blocks are stored nowhere. */
  readonly block: number | undefined;
}

/**
 * A dynamic disk, where what is not stored reads as zeros, or a differencing one, where its parent shows through:
 * sector by sector, as the bitmap of each stored block says.
 */
export class BlocksVhd implements Disk {
  readonly format = 'vhd';
  readonly virtualSizeBytes: number;
  readonly details: Disk['details'];
  readonly warnings: string[];
  readonly sequential?: boolean;
  readonly #source: ByteSource;
  readonly #ends: VhdEnds;
  readonly #header: VhdDynamicHeader;
  readonly #table: VhdBlockTable;
  readonly #bitmaps: SectorBitmaps;
  readonly #parent: VhdParent | undefined;
  #warnedOfUnused = false;

  constructor(
    source: ByteSource,
    ends: VhdEnds,
    header: VhdDynamicHeader,
    table: VhdBlockTable,
    parent: VhdParent | undefined,
  ) {
    this.virtualSizeBytes = ends.footer.currentSizeBytes;
    this.details = {
      ...footerDetails(ends.footer),
      blockSizeBytes: header.blockBytes,
      maxTableEntries: header.maxTableEntries,
      ...(parent && { parentName: parent.name, parentUniqueId: header.parentUniqueId }),
    };
    this.warnings = [...endsWarnings(ends), ...footerWarnings(ends.footer), ...(parent?.warnings ?? [])];
    if (source.sequential === true) this.sequential = true;
    this.#source = source;
    this.#ends = ends;
    this.#header = header;
    this.#table = table;
    this.#bitmaps = new SectorBitmaps(source, header, table);
    this.#parent = parent;
  }

  /** Of a dynamic disk, from the table alone: a stored block is data, whatever its sector bitmap leaves out. */
  async *extents(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Extent, void, undefined> {
    invariant(toBytes <= this.virtualSizeBytes, 'extents lie inside the disk');
    const kindOf = (block: number) => (this.#table.isStored(block) ? 'data' : 'hole');
    if (this.#parent !== undefined) yield* this.#childExtents(this.#parent.disk, fromBytes, toBytes, signal);
    else yield* blockExtents(this.#header.blockBytes, kindOf, fromBytes, toBytes, signal);
  }

  async *#childExtents(
    parent: Disk,
    fromBytes: number,
    toBytes: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Extent, void, undefined> {
    for (const { offsetBytes, endBytes, block } of this.#blockRuns(fromBytes, toBytes)) {
      signal?.throwIfAborted();
      if (block === undefined) yield* parentExtents(parent, offsetBytes, endBytes, signal);
      else {
        for await (const { from, to, used } of this.#sectors(block, offsetBytes, endBytes)) {
          if (!used) yield* parentExtents(parent, from, to, signal);
          else yield { offsetBytes: from, lengthBytes: to - from, kind: 'data' };
        }
      }
    }
  }

  /** Blocks of a dynamic disk with unused sectors are opaque: what they hold there is not shown. */
  async *storedRuns(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<StoredRun, void, undefined> {
    for (const { offsetBytes, endBytes, block } of this.#blockRuns(fromBytes, toBytes)) {
      signal?.throwIfAborted();
      const lengthBytes = endBytes - offsetBytes;
      if (block === undefined) yield* parentRuns(this.#parent?.disk, offsetBytes, endBytes, signal);
      else if (this.#parent === undefined && (await this.#bitmaps.bitmap(block)) !== undefined)
        yield { kind: 'opaque', offsetBytes, lengthBytes };
      else {
        for await (const run of this.#sectors(block, offsetBytes, endBytes)) {
          if (!run.used) yield* parentRuns(this.#parent?.disk, run.from, run.to, signal);
          else yield this.#plainRun(block, run.from, run.to);
        }
      }
    }
  }

  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const reads: Promise<void>[] = [];
    for (const run of this.#blockRuns(offsetBytes, offsetBytes + into.length)) {
      const part = into.subarray(run.offsetBytes - offsetBytes, run.endBytes - offsetBytes);
      if (run.block !== undefined) reads.push(this.#readStored(run.block, run.offsetBytes, part, signal));
      else if (this.#parent === undefined) part.fill(0);
      else reads.push(readZeroExtended(this.#parent.disk, run.offsetBytes, part, signal));
    }
    await Promise.all(reads);
  }

  /** Of an arriving disk: its end says whether it is what the start said. */
  async drain(signal?: AbortSignal): Promise<void> {
    await this.#parent?.disk.drain?.(signal);
    if (this.sequential !== true) return;
    if (this.#source.openEnded === true) await this.#source.drain?.(signal);
    const ends = await readArrivedEnd(this.#source, this.#ends.footer, this.#table.endBytes(), signal);
    this.#table.requireSound(ends.dataEndBytes);
    this.warnings.push(...endsWarnings(ends));
  }

  async close(): Promise<void> {
    await this.#parent?.close();
  }

  *#blockRuns(fromBytes: number, toBytes: number): Iterable<BlockRun> {
    invariant(toBytes <= this.virtualSizeBytes, 'a range lies inside the disk');
    const { blockBytes } = this.#header;
    for (let at = fromBytes; at < toBytes; ) {
      const block = Math.floor(at / blockBytes);
      const isStored = this.#table.isStored(block);
      let end = block + 1;
      while (!isStored && end * blockBytes < toBytes && !this.#table.isStored(end)) end++;
      const endBytes = Math.min(end * blockBytes, toBytes);
      yield { offsetBytes: at, endBytes, block: isStored ? block : undefined };
      at = endBytes;
    }
  }

  /** The runs of [from, to), in bytes of the disk, that a stored block holds and that it does not. */
  async *#sectors(
    block: number,
    fromBytes: number,
    toBytes: number,
  ): AsyncGenerator<{ from: number; to: number; used: boolean }, void, undefined> {
    const start = block * this.#header.blockBytes;
    const bitmap = await this.#bitmaps.bitmap(block);
    if (bitmap === undefined) yield { from: fromBytes, to: toBytes, used: true };
    else {
      for (const { from, to, used } of byteRuns(bitmap, fromBytes - start, toBytes - start))
        yield { from: start + from, to: start + to, used };
    }
  }

  #plainRun(block: number, fromBytes: number, toBytes: number): StoredRun {
    const sourceBytes = this.#table.dataOffset(block) + fromBytes - block * this.#header.blockBytes;
    return {
      kind: 'plain',
      offsetBytes: fromBytes,
      lengthBytes: toBytes - fromBytes,
      source: this.#source,
      sourceBytes,
    };
  }

  async #readStored(
    block: number,
    offsetBytes: number,
    part: Uint8Array,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const withinBytes = offsetBytes - block * this.#header.blockBytes;
    const readData = () => this.#source.read(this.#table.dataOffset(block) + withinBytes, part, signal);
    if (this.#bitmaps.isKnownFull(block)) return readData();
    if (this.#parent === undefined) {
      // The bitmap comes beside the data, not before it: it seldom changes anything.
      const data = readData();
      const [bitmap] = await Promise.all([this.#bitmaps.bitmap(block), data]);
      if (bitmap !== undefined && clearUnusedSectors(bitmap, withinBytes, part)) this.#warnOfUnused(block);
      return;
    }
    const bitmap = await this.#bitmaps.bitmap(block);
    if (bitmap === undefined) return readData();
    await this.#readMixed(this.#parent.disk, bitmap, withinBytes, offsetBytes, part, signal, readData);
  }

  /** At most two reads, however often the sectors change hands. */
  async #readMixed(
    parent: Disk,
    bitmap: Uint8Array,
    withinBytes: number,
    offsetBytes: number,
    part: Uint8Array,
    signal: AbortSignal | undefined,
    readData: () => Promise<void>,
  ): Promise<void> {
    const runs = [...byteRuns(bitmap, withinBytes, withinBytes + part.length)];
    if (runs.every((run) => !run.used)) return readZeroExtended(parent, offsetBytes, part, signal);
    const shown = runs.some((run) => !run.used) ? new Uint8Array(part.length) : undefined;
    await Promise.all([readData(), shown && readZeroExtended(parent, offsetBytes, shown, signal)]);
    if (shown === undefined) return;
    for (const { from, to, used } of runs) {
      if (!used) part.set(shown.subarray(from - withinBytes, to - withinBytes), from - withinBytes);
    }
  }

  #warnOfUnused(block: number): void {
    if (this.#warnedOfUnused) return;
    this.#warnedOfUnused = true;
    this.warnings.push(
      `block ${block} holds data in sectors that its bitmap marks as unused; they were read as zeros, as the specification says, but some programs (qemu) show the data`,
    );
  }
}
