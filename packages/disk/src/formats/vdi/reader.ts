import { blockExtents } from '../../disk/block-extents.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError, invariant } from '../../errors.ts';
import { type ByteSource, requireInside } from '../../io/byte-source.ts';
import type { OpenOptions } from '../format.ts';
import { refuseParent } from '../refuse-parent.ts';
import { MAP_STRUCTURE, VdiBlockMap } from './block-map.ts';
import { HEADER_STRUCTURE, headerWarnings, NULL_UUID, readHeader, type VdiHeader } from './header.ts';

/** Opens a dynamic or fixed VDI image. Throws ImageError for all that could not be read right. */
export async function openVdi(source: ByteSource, options: OpenOptions): Promise<Disk> {
  const header = await readBaseHeader(source, options);
  const map = await VdiBlockMap.read(source, header, options.signal);
  for (const { code, message, offsetBytes } of map.damage(source.lengthBytes)) {
    throw new ImageError(code, message, {
      structure: MAP_STRUCTURE,
      offsetBytes,
    });
  }
  return {
    format: 'vdi',
    virtualSizeBytes: header.virtualSizeBytes,
    details: detailsOf(header),
    warnings: headerWarnings(header),
    extents(from, to, signal) {
      invariant(to <= header.virtualSizeBytes, 'extents lie inside the disk');
      return blockExtents(header.blockBytes, (block) => map.kind(block), from, to, signal);
    },
    async read(offsetBytes, into, signal) {
      signal?.throwIfAborted();
      invariant(offsetBytes + into.length <= header.virtualSizeBytes, 'a read lies inside the disk');
      await readRuns(source, map, offsetBytes, into, signal);
    },
    async close() {},
  };
}

async function readRuns(
  source: ByteSource,
  map: VdiBlockMap,
  offsetBytes: number,
  into: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  const reads: Promise<void>[] = [];
  for (let at = 0; at < into.length; ) {
    const { fileOffsetBytes, lengthBytes } = map.run(offsetBytes + at, into.length - at);
    const part = into.subarray(at, at + lengthBytes);
    if (fileOffsetBytes === undefined) part.fill(0);
    else reads.push(source.read(fileOffsetBytes, part, signal));
    at += lengthBytes;
  }
  await Promise.all(reads);
}

/** The header of an image that stands alone; one that needs a parent is refused through the gate. */
export async function readBaseHeader(source: ByteSource, options: OpenOptions): Promise<VdiHeader> {
  const header = await readHeader(source, options.signal);
  const hint = 'clone it to a single image first, with VBoxManage clonemedium';
  if (header.uuidLinkage !== NULL_UUID) {
    const parent = { name: header.uuidLinkage, structure: 'VDI uuidLinkage' };
    return refuseParent('VDI', parent, hint, options);
  }
  if (header.type === 'differencing') {
    throw new ImageError('IMAGE_UNSUPPORTED', 'a differencing VDI image that names no parent is not read', {
      structure: HEADER_STRUCTURE,
      offsetBytes: 76,
      hint,
    });
  }
  // VirtualBox and qemu make a file at least as long as its front, however empty the disk is.
  requireInside(source, 0, header.dataOffsetBytes, 'VDI data area');
  return header;
}

function detailsOf(header: VdiHeader): Disk['details'] {
  return {
    version: '1.1',
    type: header.type,
    headerSizeBytes: header.headerBytes,
    blockSizeBytes: header.blockBytes,
    blockExtraBytes: header.blockExtraBytes,
    blockCount: header.blockCount,
    blocksAllocated: header.allocatedCount,
    uuidCreate: header.uuidCreate,
    uuidModify: header.uuidModify,
    comment: header.comment,
  };
}
