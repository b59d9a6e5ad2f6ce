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
  /** As qemu calls the format. Undefined: nobody may open it by this name. */
  readonly format: string | undefined;
}

/** A header extension (specification, "Header extensions"). */
export interface HeaderExtension {
  readonly type: number;
  readonly data: Uint8Array;
}

export interface HeaderFields {
  readonly version: 2 | 3;
  /** Version 2 knows no zstd. */
  readonly zstd?: boolean;
  readonly backing?: BackingName | undefined;
  /** Besides the one for the backing file's format. */
  readonly extensions?: readonly HeaderExtension[];
  readonly l1OffsetBytes: number;
  readonly refcounts: RefcountPlace;
}

/** The header cluster of a file. Throws IMAGE_OPTION when the backing file's name does not fit into it. */
export function headerCluster(geometry: Qcow2Geometry, fields: HeaderFields): Uint8Array {
  const { version, zstd = false, backing, extensions = [], refcounts } = fields;
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
  const format = backing?.format === undefined ? [] : [backingFormat(backing.format)];
  const endBytes = setExtensions(bytes, version === 3 ? V3_HEADER_BYTES_WRITTEN : V2_HEADER_BYTES, [
    ...format,
    ...extensions,
  ]);
  if (backing !== undefined) setBackingName(bytes, endBytes, backing.name);
  return bytes;
}

function backingFormat(format: string): HeaderExtension {
  return { type: BACKING_FORMAT_EXTENSION, data: utf8Bytes(format) };
}

/** Gives where the extensions end; the cluster's zeros are the mark of the end. */
function setExtensions(bytes: Uint8Array, fromBytes: number, extensions: readonly HeaderExtension[]): number {
  const view = viewOf(bytes);
  let at = fromBytes;
  for (const { type, data } of extensions) {
    view.setUint32(at, type);
    view.setUint32(at + 4, data.length);
    bytes.set(data, at + 8);
    at += 8 + roundUp(data.length, 8);
  }
  return at + 8;
}

/** The name stands behind the extensions (specification, "Header extensions"). */
function setBackingName(bytes: Uint8Array, nameOffset: number, text: string): void {
  const name = utf8Bytes(text);
  if (name.length > BACKING_NAME_BYTES_MAX || nameOffset + name.length > bytes.length) {
    throw new ImageError('IMAGE_OPTION', 'the name of the backing file is too long for the header', {
      structure: 'option backing_file',
      hint: 'use a shorter name, or larger clusters: the first one holds it',
    });
  }
  const view = viewOf(bytes);
  view.setBigUint64(8, BigInt(nameOffset));
  view.setUint32(16, name.length);
  bytes.set(name, nameOffset);
}
