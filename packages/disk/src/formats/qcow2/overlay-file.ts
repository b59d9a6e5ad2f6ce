import { utf8Bytes, viewOf } from '../../bytes/fields.ts';
import { KIB } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import type { WritableDisk } from '../../disk/writable-disk.ts';
import { StoreError } from '../../errors.ts';
import { memorySource } from '../../io/memory.ts';
import { fileSink, fileSource } from '../../io/node-file.ts';
import { writableFile } from '../../io/node-writable-file.ts';
import { qcow2Geometry, REFCOUNT_BYTES } from './geometry.ts';
import { DISK_DIGEST_EXTENSION, type Qcow2Header, readHeader } from './header.ts';
import { OverlayDisk } from './overlay-disk.ts';
import { OverlayTables } from './overlay-tables.ts';
import { headerCluster } from './write-header.ts';

const CLUSTER_BYTES: number = 64 * KIB;
/** What qemu calls formats that have another name here. */
const QEMU_FORMAT_NAMES: ReadonlyMap<string, string> = new Map([['vhd', 'vpc']]);

export interface OverlayOptions {
  /** The digest of the disk that the overlay belongs to, as `diskDigest` gives it. */
  readonly digest: string;
  /**
   * How the overlay names the image of that disk, so that both can be read together later. Without a format nobody
   * can: right where the name alone does not lead to the disk, as with a snapshot.
   */
  readonly backing: { readonly name: string; readonly format: string | undefined };
}

/**
 * Makes an empty overlay: a qcow2 file whose backing file is the image of the disk. An existing file is replaced.
 * Throws StoreError, IMAGE_OPTION when the name does not fit.
 */
export async function createOverlay(path: string, disk: Disk, options: OverlayOptions): Promise<void> {
  const { digest, backing } = options;
  const geometry = qcow2Geometry(disk.virtualSizeBytes, CLUSTER_BYTES);
  const { l1Clusters } = geometry;
  // Header, refcount table, refcount block, L1.
  const clusterCount = 3 + l1Clusters;
  const header = headerCluster(geometry, {
    version: 3,
    backing: {
      ...backing,
      format: backing.format && (QEMU_FORMAT_NAMES.get(backing.format) ?? backing.format),
    },
    extensions: [{ type: DISK_DIGEST_EXTENSION, data: utf8Bytes(digest) }],
    l1OffsetBytes: 3 * CLUSTER_BYTES,
    refcounts: { offsetBytes: CLUSTER_BYTES, tableClusters: 1, blockCount: 1 },
  });
  const refcountTable = new Uint8Array(CLUSTER_BYTES);
  viewOf(refcountTable).setBigUint64(0, BigInt(2 * CLUSTER_BYTES));
  const refcountBlock = new Uint8Array(CLUSTER_BYTES);
  for (let i = 0; i < clusterCount; i++) viewOf(refcountBlock).setUint16(i * REFCOUNT_BYTES, 1);
  const sink = await fileSink(path);
  try {
    await sink.write(0, header);
    await sink.write(CLUSTER_BYTES, refcountTable);
    await sink.write(2 * CLUSTER_BYTES, refcountBlock);
    await sink.finish(clusterCount * CLUSTER_BYTES);
  } finally {
    await sink.abort();
  }
}

/**
 * Opens an overlay that `createOverlay` made, with the disk that it belongs to: the disk with its changes, to be read
 * and written. One process at a time may. Throws STORE_REFUSED for an overlay of another disk, and for any other file.
 */
export async function openOverlay(path: string, disk: Disk, digest: string): Promise<WritableDisk> {
  requireBelongs(path, await overlayHeader(path), disk, digest);
  const file = await writableFile(path);
  try {
    // Read again, from what is open now.
    const front = new Uint8Array(CLUSTER_BYTES);
    await file.read(0, front);
    const header = await readHeader(memorySource(front, path));
    requireBelongs(path, header, disk, digest);
    return new OverlayDisk(disk, file, await OverlayTables.open(file, header));
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function overlayHeader(path: string): Promise<Qcow2Header> {
  const source = await fileSource(path);
  try {
    return await readHeader(source);
  } finally {
    await source.close();
  }
}

function requireBelongs(path: string, header: Qcow2Header, disk: Disk, digest: string): void {
  const { virtualSizeBytes } = qcow2Geometry(disk.virtualSizeBytes, CLUSTER_BYTES);
  const isOurs =
    header.backingDigest !== undefined &&
    header.version === 3 &&
    header.clusterBytes === CLUSTER_BYTES &&
    header.l2EntryBytes === 8 &&
    header.refcountBits === 16 &&
    header.snapshotCount === 0 &&
    header.externalDataName === undefined &&
    header.bitmaps === undefined &&
    !header.dirty;
  const refuse = (message: string, hint: string): never => {
    throw new StoreError('STORE_REFUSED', `${path}: ${message}`, { where: path, hint });
  };
  if (!isOurs) refuse('this is no overlay that was made here', 'name a file that is not there yet');
  if (header.backingDigest !== digest || header.virtualSizeBytes !== virtualSizeBytes) {
    refuse(
      'the overlay belongs to another disk',
      'serve the disk that it was made for, or name another file',
    );
  }
}
