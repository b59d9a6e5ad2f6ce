// streamOptimized files as other programs write them, and files that arrive.
import { setImmediate } from 'node:timers/promises';
import type { Disk } from '../../disk/disk.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { forwardSource, openEndedSource } from '../../io/forward.ts';
import { vmdk } from './format.ts';

/** One thing after the other in a stream. */
export type StreamPiece =
  | { readonly kind: 'grain'; readonly grain: number; readonly record: Uint8Array }
  /** The table of the grains so far that have none yet, of one part of the disk or of the oldest ones. */
  | { readonly kind: 'table'; readonly entries?: readonly number[] }
  | { readonly kind: 'directory'; readonly changed?: readonly [index: number, sector: number] }
  | { readonly kind: 'footer'; readonly capacitySectors?: number; readonly directorySector?: number }
  | { readonly kind: 'sectors'; readonly bytes: Uint8Array };

export function marker(type: number, sectorCount = 0): Uint8Array {
  const bytes = Buffer.alloc(512);
  bytes.writeBigUInt64LE(BigInt(sectorCount), 0);
  bytes.writeUInt32LE(type, 12);
  return bytes;
}

/** As vSphere's progress: a marker that counts, with nothing behind it. */
export function progress(count: number): StreamPiece {
  return { kind: 'sectors', bytes: marker(4, count) };
}

export const END: StreamPiece = { kind: 'sectors', bytes: new Uint8Array(512) };

function header(capacitySectors: number, directorySector: bigint): Buffer {
  const bytes = Buffer.alloc(512);
  bytes.write('KDMV', 0);
  bytes.writeUInt32LE(3, 4);
  bytes.writeUInt32LE(0x30001, 8);
  const words = [capacitySectors, 128, 1, 1];
  for (const [i, word] of words.entries()) bytes.writeBigUInt64LE(BigInt(word), 12 + i * 8);
  bytes.writeUInt32LE(512, 44);
  bytes.writeBigUInt64LE(directorySector, 56);
  bytes.writeBigUInt64LE(128n, 64);
  bytes.write('\n \r\n', 73);
  bytes.writeUInt16LE(1, 77);
  return bytes;
}

/** A stream of these pieces behind a header that leaves the directory's place to the footer. */
export function streamOf(capacitySectors: number, pieces: readonly StreamPiece[]): Uint8Array {
  const front = Buffer.alloc(128 * 512);
  front.set(header(capacitySectors, 2n ** 64n - 1n));
  const text = `# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="streamOptimized"\nRDONLY ${capacitySectors} SPARSE "x.vmdk"\n`;
  front.write(text, 512);
  const parts: Uint8Array[] = [front];
  let sector = 128;
  const append = (bytes: Uint8Array) => {
    parts.push(bytes);
    sector += bytes.length / 512;
  };
  const open = new Map<number, number[]>();
  const directory: number[] = new Array(Math.ceil(capacitySectors / 65536)).fill(0);
  let directoryAt = 0;
  const words = (entries: readonly number[]) => {
    const bytes = Buffer.alloc(Math.ceil(entries.length / 128) * 512);
    for (const [i, entry] of entries.entries()) bytes.writeUInt32LE(entry, i * 4);
    return bytes;
  };
  for (const piece of pieces) {
    if (piece.kind === 'sectors') append(piece.bytes);
    else if (piece.kind === 'grain') {
      const index = Math.floor(piece.grain / 512);
      const table = open.get(index) ?? new Array<number>(512).fill(0);
      table[piece.grain % 512] = sector;
      open.set(index, table);
      append(piece.record);
    } else if (piece.kind === 'table') {
      append(marker(1, 4));
      const [first] = open;
      if (first !== undefined) {
        directory[first[0]] = sector;
        open.delete(first[0]);
      }
      append(words(piece.entries ?? first?.[1] ?? new Array<number>(512).fill(0)));
    } else if (piece.kind === 'directory') {
      append(marker(2, Math.ceil(directory.length / 128)));
      directoryAt = sector;
      if (piece.changed !== undefined) directory[piece.changed[0]] = piece.changed[1];
      append(words(directory));
    } else {
      append(marker(3, 1));
      append(header(piece.capacitySectors ?? capacitySectors, BigInt(piece.directorySector ?? directoryAt)));
    }
  }
  return Buffer.concat(parts);
}

async function* chunksOf(bytes: Uint8Array, chunkBytes: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    await setImmediate();
    yield bytes.subarray(at, at + chunkBytes);
  }
}

/** Bytes that arrive once, in chunks of this length. */
export function arriving(bytes: Uint8Array, chunkBytes = 100_000, lengthBytes = bytes.length): ByteSource {
  return forwardSource(chunksOf(bytes, chunkBytes), lengthBytes, 'arriving');
}

/** Bytes that come out of a pipe: nobody said how many. */
export function piped(bytes: Uint8Array, chunkBytes = 100_000): Promise<ByteSource> {
  return openEndedSource(chunksOf(bytes, chunkBytes), 'pipe');
}

/** What the disk of an arriving file reads as, taken extent by extent as it is told of. */
export async function readArriving(source: ByteSource): Promise<{ disk: Disk; bytes: Uint8Array }> {
  const disk = await vmdk.open(source, { references: denyReferences });
  // A changed header may say any size: of what is large the data is read, and not kept.
  const isKept = disk.virtualSizeBytes < 256 * 1024 * 1024;
  const bytes = new Uint8Array(isKept ? disk.virtualSizeBytes : 1024 * 1024);
  for await (const { kind, offsetBytes, lengthBytes } of disk.extents(0, disk.virtualSizeBytes)) {
    if (kind !== 'data') continue;
    const at = isKept ? offsetBytes : 0;
    await disk.read(offsetBytes, bytes.subarray(at, at + lengthBytes));
  }
  await disk.drain?.();
  return { disk, bytes };
}
