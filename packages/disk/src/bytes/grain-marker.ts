import { viewOf } from './fields.ts';

// What stands before the compressed data of a VMDK grain. Threads look at it too: it imports little.

/** A grain's record begins with its lba (8 bytes, sectors of the disk) and the size of its data (4 bytes). */
export const GRAIN_MARKER_BYTES = 12;

/** What stands before the data of a grain. */
export function encodeGrainMarker(lbaSectors: number, dataBytes: number): Uint8Array {
  const bytes = new Uint8Array(GRAIN_MARKER_BYTES);
  const view = viewOf(bytes);
  view.setBigUint64(0, BigInt(lbaSectors), true);
  view.setUint32(8, dataBytes, true);
  return bytes;
}

/** Most bytes of a grain's compressed data: qemu's bound, far above what deflate makes of any grain. */
export function compressedBytesMax(grainBytes: number): number {
  return grainBytes * 2;
}

/** What is wrong with the marker in `record` as that of the grain at `lbaSectors`; undefined when nothing is. */
export function grainMarkerProblem(
  record: Uint8Array,
  lbaSectors: number,
  grainBytes: number,
): string | undefined {
  const view = viewOf(record);
  const lba = view.getBigUint64(0, true);
  if (lba !== BigInt(lbaSectors))
    return `the marker of the grain for sector ${lbaSectors} says sector ${lba}`;
  const size = grainDataBytes(record);
  if (size === 0) return `the grain for sector ${lbaSectors} has no data`;
  if (size > compressedBytesMax(grainBytes)) {
    return `the compressed grain for sector ${lbaSectors} has ${size} bytes, more than twice a grain`;
  }
  return undefined;
}

/** The size field of a grain's marker. */
export function grainDataBytes(record: Uint8Array): number {
  return viewOf(record).getUint32(8, true);
}
