import type { Disk, Extent, StoredRun } from '../../disk/disk.ts';
import { parentExtents, parentRuns } from '../../disk/parent-runs.ts';
import { sourceExtents, sourceRuns } from '../../disk/source-runs.ts';
import { ImageError, invariant } from '../../errors.ts';
import { type ByteSource, requireInside } from '../../io/byte-source.ts';
import { readZeroExtended } from '../../view/view.ts';
import type { OpenOptions } from '../format.ts';
import { MAP_STRUCTURE, VdiBlockMap } from './block-map.ts';
import { HEADER_STRUCTURE, headerWarnings, NULL_UUID, readHeader, type VdiHeader } from './header.ts';
import { openVdiParent, type VdiParent } from './parent.ts';

/**
 * Opens a VDI image: dynamic, fixed, or one with a parent, through the gate. Throws ImageError for all that could
 * not be read right.
 */
export async function openVdi(source: ByteSource, options: OpenOptions): Promise<Disk> {
  const header = await readUsableHeader(source, options.signal);
  if (isChild(header) && header.uuidLinkage === NULL_UUID) {
    throw new ImageError('IMAGE_UNSUPPORTED', `a VDI ${header.type} image that names no parent is not read`, {
      structure: HEADER_STRUCTURE,
      offsetBytes: header.places.uuidLinkage,
      hint: 'clone it to a single image first, with VBoxManage clonemedium',
    });
  }
  const map = new VdiBlockMap(source, header);
  for await (const { code, message, offsetBytes } of map.damage(options.signal)) {
    throw new ImageError(code, message, { structure: MAP_STRUCTURE, offsetBytes });
  }
  const parent = header.uuidLinkage === NULL_UUID ? undefined : await openVdiParent(source, header, options);
  return new VdiDisk(source, header, map, parent);
}

/** True for types that hold only what differs from a parent. */
export function isChild({ type }: VdiHeader): boolean {
  return type === 'differencing' || type === 'undo';
}

/** The header of a file that is as long as it says at least. */
export async function readUsableHeader(source: ByteSource, signal?: AbortSignal): Promise<VdiHeader> {
  const header = await readHeader(source, signal);
  // VirtualBox and qemu make a file at least as long as its front, however empty the disk is.
  requireInside(source, 0, header.dataOffsetBytes, 'VDI data area');
  return header;
}

class VdiDisk implements Disk {
  readonly format = 'vdi';
  readonly virtualSizeBytes: number;
  readonly details: Disk['details'];
  readonly warnings: readonly string[];
  readonly sequential?: boolean;
  readonly #source: ByteSource;
  readonly #map: VdiBlockMap;
  readonly #parent: VdiParent | undefined;

  constructor(source: ByteSource, header: VdiHeader, map: VdiBlockMap, parent: VdiParent | undefined) {
    this.virtualSizeBytes = header.virtualSizeBytes;
    this.details = detailsOf(header);
    this.warnings = [...headerWarnings(header), ...(parent?.warnings ?? [])];
    if (source.sequential === true) this.sequential = true;
    this.#source = source;
    this.#map = map;
    this.#parent = parent;
  }

  async *extents(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Extent, void, undefined> {
    invariant(toBytes <= this.virtualSizeBytes, 'extents lie inside the disk');
    for await (const { kind, offsetBytes, endBytes, fileOffsetBytes } of this.#map.runs(
      fromBytes,
      toBytes,
      signal,
    )) {
      if (kind === 'hole') yield* parentExtents(this.#parent?.disk, offsetBytes, endBytes, signal);
      else if (kind === 'zero') yield { kind, offsetBytes, lengthBytes: endBytes - offsetBytes };
      // A fixed image is often a sparse file: its holes were never written.
      else yield* sourceExtents(this.#source, fileOffsetBytes - offsetBytes, offsetBytes, endBytes, signal);
    }
  }

  async *storedRuns(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<StoredRun, void, undefined> {
    invariant(toBytes <= this.virtualSizeBytes, 'runs lie inside the disk');
    for await (const { kind, offsetBytes, endBytes, fileOffsetBytes } of this.#map.runs(
      fromBytes,
      toBytes,
      signal,
    )) {
      if (kind === 'hole') yield* parentRuns(this.#parent?.disk, offsetBytes, endBytes, signal);
      else if (kind === 'zero') yield { kind, offsetBytes, lengthBytes: endBytes - offsetBytes };
      else yield* sourceRuns(this.#source, fileOffsetBytes - offsetBytes, offsetBytes, endBytes, signal);
    }
  }

  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const end = offsetBytes + into.length;
    invariant(end <= this.virtualSizeBytes, 'a read lies inside the disk');
    signal?.throwIfAborted();
    // All runs are known before the first read begins: no read is left alone when a page cannot be had.
    const runs = await Array.fromAsync(this.#map.runs(offsetBytes, end, signal));
    const parent = this.#parent?.disk;
    await Promise.all(
      runs.map((run) => {
        const part = into.subarray(run.offsetBytes - offsetBytes, run.endBytes - offsetBytes);
        if (run.kind === 'data') return this.#source.read(run.fileOffsetBytes, part, signal);
        if (run.kind === 'hole' && parent !== undefined)
          return readZeroExtended(parent, run.offsetBytes, part, signal);
        part.fill(0);
        return undefined;
      }),
    );
  }

  async drain(signal?: AbortSignal): Promise<void> {
    await this.#parent?.disk.drain?.(signal);
  }

  async close(): Promise<void> {
    await this.#parent?.close();
  }
}

function detailsOf(header: VdiHeader): Disk['details'] {
  return {
    version: header.version,
    type: header.type,
    headerSizeBytes: header.headerBytes,
    blockSizeBytes: header.blockBytes,
    blockExtraBytes: header.blockExtraBytes,
    blockCount: header.blockCount,
    blocksAllocated: header.allocatedCount,
    uuidCreate: header.uuidCreate,
    uuidModify: header.uuidModify,
    ...(header.uuidLinkage !== NULL_UUID && {
      uuidLinkage: header.uuidLinkage,
      uuidParentModify: header.uuidParentModify,
    }),
    comment: header.comment,
  };
}
