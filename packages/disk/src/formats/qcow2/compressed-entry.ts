import { roundUp } from '../../bytes/numbers.ts';
import { invariant } from '../../errors.ts';
import { COPIED_BIT } from './layout.ts';

/** The COMPRESSED flag, bit 62 of an L2 entry. */
const COMPRESSED_BIT = 1n << 62n;

/**
 * An L2 entry for compressed data at a host offset (specification, "Compressed Clusters Descriptor"): the
 * number of sectors beyond the first that it touches stands above the offset.
 */
function compressedEntry(offsetBytes: number, lengthBytes: number, clusterBits: number): bigint {
  const firstSector = Math.floor(offsetBytes / 512);
  const lastSector = Math.floor((offsetBytes + lengthBytes - 1) / 512);
  const offsetBits = BigInt(62 - (clusterBits - 8));
  invariant(
    lastSector - firstSector < 2 ** (clusterBits - 8),
    'an entry has room for the sectors of compressed data',
  );
  return COMPRESSED_BIT | (BigInt(lastSector - firstSector) << offsetBits) | BigInt(offsetBytes);
}

/** Host clusters that the sectors of a compressed cluster touch, first and last: each counts one reference. */
export function touchedClusters(
  offsetBytes: number,
  lengthBytes: number,
  clusterBytes: number,
): { first: number; last: number } {
  const lastSector = Math.floor((offsetBytes + lengthBytes - 1) / 512);
  return {
    first: Math.floor(offsetBytes / clusterBytes),
    last: Math.floor((lastSector * 512) / clusterBytes),
  };
}

/**
 * Where a cluster goes when the file's data ends at `endBytes`: a compressed one follows to the byte, one that
 * is stored as it is starts at a host cluster.
 */
export function placeAfter(endBytes: number, isPlain: boolean, clusterBytes: number): number {
  return isPlain ? roundUp(endBytes, clusterBytes) : endBytes;
}

/** The L2 entry of a cluster stored in this many bytes. */
export function storedEntry(
  offsetBytes: number,
  lengthBytes: number,
  isPlain: boolean,
  clusterBytes: number,
): bigint {
  if (isPlain) return BigInt(offsetBytes) | COPIED_BIT;
  return compressedEntry(offsetBytes, lengthBytes, Math.log2(clusterBytes));
}
