import { viewOf } from '../../bytes/fields.ts';
import type { Qcow2Geometry } from './geometry.ts';
import { QCOW2_MAGIC, V2_HEADER_BYTES } from './header.ts';

/** What qemu writes since 5.1, compression type included. */
const V3_HEADER_BYTES_WRITTEN = 112;
const COMPRESSION_TYPE_BIT = 8n;

/** The header cluster of a file with this geometry. Version 2 knows no zstd. */
export function headerCluster(geometry: Qcow2Geometry, version: 2 | 3, zstd: boolean): Uint8Array {
  const bytes = new Uint8Array(geometry.clusterBytes);
  const view = viewOf(bytes);
  for (let i = 0; i < 4; i++) bytes[i] = QCOW2_MAGIC.charCodeAt(i);
  view.setUint32(4, version);
  view.setUint32(20, Math.log2(geometry.clusterBytes));
  view.setBigUint64(24, BigInt(geometry.virtualSizeBytes));
  view.setUint32(36, geometry.l1EntryCount);
  view.setBigUint64(40, BigInt(geometry.l1OffsetBytes));
  view.setBigUint64(48, BigInt(geometry.clusterBytes));
  view.setUint32(56, geometry.refcountTableClusters);
  if (version === 3) {
    view.setBigUint64(72, zstd ? COMPRESSION_TYPE_BIT : 0n);
    view.setUint32(96, 4);
    view.setUint32(100, V3_HEADER_BYTES_WRITTEN);
    view.setUint8(104, zstd ? 1 : 0);
  } else {
    view.setUint32(V2_HEADER_BYTES, 0);
  }
  return bytes;
}
