import { viewOf } from '../../bytes/fields.ts';

const KIB = 1024;

/** Fields of a VDI file by VirtualBox's names; what is not given makes a good small image. */
export interface VdiFields {
  readonly signature?: number;
  readonly version?: number;
  readonly cbHeader?: number;
  readonly type?: number;
  readonly flags?: number;
  readonly comment?: string;
  readonly offBlocks?: number;
  readonly offData?: number;
  readonly cbDisk?: bigint;
  readonly cbBlock?: number;
  readonly cbBlockExtra?: number;
  readonly cBlocks?: number;
  readonly cBlocksAllocated?: number;
  /** One byte, repeated. */
  readonly uuidCreate?: number;
  readonly uuidModify?: number;
  readonly uuidLinkage?: number;
  readonly uuidParentModify?: number;
  readonly lchsSectorBytes?: number;
  readonly map?: readonly number[];
  /** Blocks that the file holds, by position. */
  readonly storedBlocks?: number;
}

export const FREE = 0xffffffff;
export const ZERO = 0xfffffffe;

/** What the block at a position holds; its extra bytes, before it, are 0xee. */
export function storedByte(position: number, within: number): number {
  return 1 + ((position * 31 + Math.floor(within / 512)) % 200);
}

/** A VDI file as old VirtualBox versions laid it out: map at 512, then the blocks; small blocks. */
export function vdiFile(fields: VdiFields = {}): Uint8Array {
  const map = fields.map ?? [1, FREE, 0, ZERO];
  const blockBytes = fields.cbBlock ?? 128 * KIB;
  const extraBytes = fields.cbBlockExtra ?? 0;
  const offBlocks = fields.offBlocks ?? 512;
  const offData = fields.offData ?? 1024;
  const storedBlocks = fields.storedBlocks ?? map.filter((entry) => entry < ZERO).length;
  const fits = blockBytes + extraBytes <= 8 * 1024 * KIB && offData <= 8 * 1024 * KIB;
  const bytes = new Uint8Array(fits ? offData + storedBlocks * (blockBytes + extraBytes) : 64 * KIB);
  const view = viewOf(bytes);
  bytes.set(Buffer.from('<<< Oracle VM VirtualBox Disk Image >>>\n'));
  view.setUint32(64, fields.signature ?? 0xbeda107f, true);
  view.setUint32(68, fields.version ?? 0x00010001, true);
  view.setUint32(72, fields.cbHeader ?? 400, true);
  view.setUint32(76, fields.type ?? 1, true);
  view.setUint32(80, fields.flags ?? 0, true);
  bytes.set(Buffer.from(fields.comment ?? ''), 84);
  view.setUint32(340, offBlocks, true);
  view.setUint32(344, offData, true);
  view.setUint32(360, 512, true);
  view.setBigUint64(368, fields.cbDisk ?? BigInt(map.length * blockBytes), true);
  view.setUint32(376, blockBytes, true);
  view.setUint32(380, extraBytes, true);
  view.setUint32(384, fields.cBlocks ?? map.length, true);
  view.setUint32(388, fields.cBlocksAllocated ?? storedBlocks, true);
  bytes.fill(fields.uuidCreate ?? 0x11, 392, 408);
  bytes.fill(fields.uuidModify ?? 0x22, 408, 424);
  bytes.fill(fields.uuidLinkage ?? 0, 424, 440);
  bytes.fill(fields.uuidParentModify ?? 0, 440, 456);
  if ((fields.cbHeader ?? 400) >= 400) view.setUint32(468, fields.lchsSectorBytes ?? 512, true);
  for (const [block, entry] of map.entries()) {
    if (offBlocks + block * 4 + 4 <= bytes.length) view.setUint32(offBlocks + block * 4, entry, true);
  }
  for (let position = 0; fits && position < storedBlocks; position++) {
    const start = offData + position * (blockBytes + extraBytes);
    bytes.fill(0xee, start, start + extraBytes);
    for (let at = 0; at < blockBytes; at += 512) {
      bytes.fill(storedByte(position, at), start + extraBytes + at, start + extraBytes + at + 512);
    }
  }
  return bytes;
}

/** A VDI file of version 0.2: no header size, no offsets; the map follows the header, the blocks the map. */
export function oldVdiFile(fields: VdiFields = {}): Uint8Array {
  const map = fields.map ?? [1, FREE, 0, ZERO];
  const blockBytes = fields.cbBlock ?? 128 * KIB;
  const storedBlocks = fields.storedBlocks ?? map.filter((entry) => entry < ZERO).length;
  const offData = 420 + 4 * (fields.cBlocks ?? map.length);
  const bytes = new Uint8Array(Math.min(offData, 64 * KIB) + storedBlocks * blockBytes);
  const view = viewOf(bytes);
  bytes.set(Buffer.from('<<< innotek VirtualBox Disk Image >>>\n'));
  view.setUint32(64, 0xbeda107f, true);
  view.setUint32(68, 2, true);
  view.setUint32(72, fields.type ?? 1, true);
  view.setUint32(76, fields.flags ?? 0, true);
  bytes.set(Buffer.from(fields.comment ?? ''), 80);
  view.setBigUint64(352, fields.cbDisk ?? BigInt(map.length * blockBytes), true);
  view.setUint32(360, blockBytes, true);
  view.setUint32(364, fields.cBlocks ?? map.length, true);
  view.setUint32(368, fields.cBlocksAllocated ?? storedBlocks, true);
  bytes.fill(fields.uuidCreate ?? 0x11, 372, 388);
  bytes.fill(fields.uuidModify ?? 0x22, 388, 404);
  bytes.fill(fields.uuidLinkage ?? 0, 404, 420);
  for (const [block, entry] of map.entries()) view.setUint32(420 + block * 4, entry, true);
  for (let position = 0; position < storedBlocks; position++) {
    const start = offData + position * blockBytes;
    for (let at = 0; at < blockBytes; at += 512) {
      bytes.fill(storedByte(position, at), start + at, start + at + 512);
    }
  }
  return bytes;
}

/** What the guest sees of such a file. */
export function guestBytes(map: readonly number[], blockBytes: number, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(map.length * blockBytes);
  for (const [block, position] of map.entries()) {
    for (let at = 0; position < ZERO && at < blockBytes; at += 512) {
      bytes.fill(storedByte(position, at), block * blockBytes + at, block * blockBytes + at + 512);
    }
  }
  return bytes.subarray(0, sizeBytes);
}
