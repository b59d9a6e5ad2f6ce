import { utf8Bytes, viewOf } from '../../bytes/fields.ts';
import { roundUp } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import type { Qcow2Geometry, RefcountPlace } from './geometry.ts';
import { BACKING_FORMAT_EXTENSION, QCOW2_MAGIC, V2_HEADER_BYTES } from './header.ts';
import { BACKING_NAME_BYTES_MAX } from './limits.ts';

/** What qemu writes since 5.1, compression type included. */
const V3_HEADER_BYTES_WRITTEN = 112;
const COMPRESSION_TYPE_BIT = 8n;
const EXTENDED_L2_BIT = 16n;

/** A backing file as the header names it; the name is only text here. */
export interface BackingName {
  readonly name: string;
  /** As qemu calls the format. */
  readonly format: string;
}

export interface HeaderFields {
  readonly version: 2 | 3;
  /** Version 2 knows no zstd. */
  readonly zstd?: boolean;
  readonly backing?: BackingName | undefined;
  readonly l1OffsetBytes: number;
  readonly refcounts: RefcountPlace;
}

/** The header cluster of a file. Throws IMAGE_OPTION when the backing file's name does not fit into it. */
export function headerCluster(geometry: Qcow2Geometry, fields: HeaderFields): Uint8Array {
  const { version, zstd = false, backing, refcounts } = fields;
  const bytes = new Uint8Array(geometry.clusterBytes);
  const view = viewOf(bytes);
  for (let i = 0; i < 4; i++) bytes[i] = QCOW2_MAGIC.charCodeAt(i);
  view.setUint32(4, version);
  view.setUint32(20, Math.log2(geometry.clusterBytes));
  view.setBigUint64(24, BigInt(geometry.virtualSizeBytes));
  view.setUint32(36, geometry.l1EntryCount);
  view.setBigUint64(40, BigInt(fields.l1OffsetBytes));
  view.setBigUint64(48, BigInt(refcounts.offsetBytes));
  view.setUint32(56, refcounts.tableClusters);
  if (version === 3) {
    const extendedL2 = geometry.l2EntryBytes === 16;
    view.setBigUint64(72, (zstd ? COMPRESSION_TYPE_BIT : 0n) | (extendedL2 ? EXTENDED_L2_BIT : 0n));
    view.setUint32(96, 4);
    view.setUint32(100, V3_HEADER_BYTES_WRITTEN);
    view.setUint8(104, zstd ? 1 : 0);
  }
  if (backing !== undefined) {
    setBacking(bytes, version === 3 ? V3_HEADER_BYTES_WRITTEN : V2_HEADER_BYTES, backing);
  }
  return bytes;
}

/** The format goes into an extension, the name behind the extensions (specification, "Header extensions"). */
function setBacking(bytes: Uint8Array, extensionsBytes: number, backing: BackingName): void {
  const name = utf8Bytes(backing.name);
  const format = utf8Bytes(backing.format);
  const nameOffset = extensionsBytes + 8 + roundUp(format.length, 8) + 8;
  if (name.length > BACKING_NAME_BYTES_MAX || nameOffset + name.length > bytes.length) {
    throw new ImageError('IMAGE_OPTION', 'the name of the backing file is too long for the header', {
      structure: 'option backing_file',
      hint: 'use a shorter name, or larger clusters: the first one holds it',
    });
  }
  const view = viewOf(bytes);
  view.setUint32(extensionsBytes, BACKING_FORMAT_EXTENSION);
  view.setUint32(extensionsBytes + 4, format.length);
  bytes.set(format, extensionsBytes + 8);
  view.setBigUint64(8, BigInt(nameOffset));
  view.setUint32(16, name.length);
  bytes.set(name, nameOffset);
}
