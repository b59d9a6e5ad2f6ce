// What the tests of this folder share.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { writeLayout, writeStream } from '../../convert/write.ts';
import type { Disk } from '../../disk/disk.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import type { ByteSink } from '../../io/byte-sink.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { memorySink, memorySource } from '../../io/memory.ts';
import { fileSink, fileSource } from '../../io/node-file.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import type { Layout } from '../../view/layout.ts';
import type { WriteRequest } from '../format.ts';
import { raw } from '../raw/format.ts';
import { vmdk } from './format.ts';

const execute = promisify(execFile);

export const SEED: Uint8Array = new Uint8Array(32).fill(7);
export const GRAIN = 65536;

/** Runs a program that must succeed; gives what it prints. */
export async function run(program: string, ...args: string[]): Promise<string> {
  return (await execute(program, args, { maxBuffer: 64 * 1024 * 1024 })).stdout;
}

/** A folder for the length of a test. */
export async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'gantry-vmdk-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** A disk of holes but for these pieces, by offset; every 64 KiB that a piece touches is data. */
export function sparseDisk(virtualSizeBytes: number, pieces: ReadonlyMap<number, Uint8Array>): Disk {
  const blocks = new Set<number>();
  for (const [offset, bytes] of pieces) {
    for (let at = offset - (offset % GRAIN); at < offset + bytes.length; at += GRAIN) blocks.add(at);
  }
  const starts = [...blocks].sort((a, b) => a - b);
  return {
    format: 'test',
    virtualSizeBytes,
    details: {},
    warnings: [],
    async *extents(from, to) {
      let at = from;
      for (const start of starts) {
        const end = Math.min(start + GRAIN, to);
        if (end <= at || start >= to) continue;
        if (start > at) yield { offsetBytes: at, lengthBytes: start - at, kind: 'hole' };
        at = Math.max(at, start);
        yield { offsetBytes: at, lengthBytes: end - at, kind: 'data' };
        at = end;
      }
      if (at < to) yield { offsetBytes: at, lengthBytes: to - at, kind: 'hole' };
    },
    async read(offset, into, signal) {
      signal?.throwIfAborted();
      into.fill(0);
      for (const [start, bytes] of pieces) {
        const from = Math.max(start, offset);
        const to = Math.min(start + bytes.length, offset + into.length);
        if (from < to) into.set(bytes.subarray(from - start, to - start), from - offset);
      }
    },
    async close() {},
  };
}

/** Bytes that look random and are the same every time. */
export function noise(lengthBytes: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  let state = seed;
  for (let i = 0; i < lengthBytes; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** Bytes that compress well and are nowhere zero. */
export function pattern(lengthBytes: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length: lengthBytes }, (_, i) => 1 + (((i >> 6) + seed) % 250));
}

export function request(
  options: Record<string, string> = {},
  more: Partial<WriteRequest> = {},
): WriteRequest {
  return { options, seed: SEED, baseName: 'disk', ...more };
}

export async function plan(disk: Disk, asked: WriteRequest): Promise<Layout | ImageStream> {
  const planned = await vmdk.plan?.(disk, asked);
  assert.ok(planned !== undefined && planned.kind !== 'files');
  return planned;
}

export async function planLayout(disk: Disk, options: Record<string, string> = {}): Promise<Layout> {
  const layout = await plan(disk, request(options));
  assert.ok(layout.kind === 'layout');
  return layout;
}

export async function planStream(disk: Disk, options: Record<string, string> = {}): Promise<ImageStream> {
  const stream = await plan(disk, request(options, { compression: 'zlib' }));
  assert.ok(stream.kind === 'stream');
  return stream;
}

/** A small file of the format in memory. */
export async function written(
  disk: Disk,
  subformat: string,
  options: Record<string, string> = {},
): Promise<Uint8Array> {
  const sink = memorySink();
  await writePlan(disk, await plan(disk, request({ subformat, ...options })), sink);
  return sink.bytes();
}

/** A file of the format, its zeros left out. */
export async function writeVmdk(disk: Disk, asked: WriteRequest, path: string): Promise<void> {
  await writePlan(disk, await plan(disk, asked), await fileSink(path));
}

/** The disk as a raw file, its holes left out. */
export async function writeRaw(disk: Disk, path: string): Promise<void> {
  const planned = await raw.plan?.(disk, request());
  assert.ok(planned?.kind === 'layout');
  await writePlan(disk, planned, await fileSink(path));
}

async function writePlan(disk: Disk, planned: Layout | ImageStream, sink: ByteSink): Promise<void> {
  const length =
    planned.kind === 'layout' ? await writeLayout(planned, disk, sink) : await writeStream(planned, sink);
  await sink.finish(length);
}

export async function openBytes(bytes: Uint8Array): Promise<Disk> {
  return vmdk.open(memorySource(bytes), { references: denyReferences });
}

/** Opens a file for the length of a test. */
export async function openFile(t: TestContext, path: string): Promise<{ disk: Disk; source: ByteSource }> {
  const source = await fileSource(path);
  t.after(() => source.close());
  return { source, disk: await vmdk.open(source, { references: denyReferences }) };
}

export async function readAt(disk: Disk, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
  const into = new Uint8Array(lengthBytes).fill(0xee);
  await disk.read(offsetBytes, into);
  return into;
}

/** A copy with bytes written over, by offset; numbers are 32-bit and bigints 64-bit little endian. */
export function edited(
  file: Uint8Array,
  edits: Readonly<Record<number, number | bigint | string | Uint8Array>>,
): Uint8Array<ArrayBuffer> {
  const copy = Uint8Array.from(file);
  const buffer = Buffer.from(copy.buffer);
  for (const [key, value] of Object.entries(edits)) {
    const at = Number(key);
    if (typeof value === 'number') buffer.writeUInt32LE(value, at);
    else if (typeof value === 'bigint') buffer.writeBigUInt64LE(value, at);
    else if (typeof value === 'string') buffer.write(value, at, 'latin1');
    else copy.set(value, at);
  }
  return copy;
}

/** A file's embedded descriptor with its text changed; its room stays the same. */
export function withDescriptor(file: Uint8Array, change: (text: string) => string): Uint8Array<ArrayBuffer> {
  const room = file.subarray(512, 21 * 512);
  const text = Buffer.from(room.subarray(0, room.indexOf(0))).toString('latin1');
  const bytes = new Uint8Array(room.length);
  bytes.set(Buffer.from(change(text), 'latin1'));
  return edited(file, { 512: bytes });
}

interface TablesFirst {
  readonly capacitySectors: number;
  /** Compressed records by grain, in the order in which they stand in the file. */
  readonly records: ReadonlyMap<number, Uint8Array>;
  /** A sector of zeros at the end, as VMware writes it and qemu does not. */
  readonly endOfStream?: boolean;
}

/** A streamOptimized file with its tables in front, as VMware's own tools write it. */
export function tablesFirst({ capacitySectors, records, endOfStream = true }: TablesFirst): Uint8Array {
  const tableCount = Math.ceil(capacitySectors / (128 * 512));
  const directorySectors = Math.ceil(tableCount / 128);
  const overHead = Math.ceil((21 + directorySectors + tableCount * 4) / 128) * 128;
  const front = Buffer.alloc(overHead * 512);
  front.write('KDMV', 0);
  front.writeUInt32LE(3, 4);
  front.writeUInt32LE(0x30001, 8);
  front.writeBigUInt64LE(BigInt(capacitySectors), 12);
  front.writeBigUInt64LE(128n, 20);
  front.writeBigUInt64LE(1n, 28);
  front.writeBigUInt64LE(20n, 36);
  front.writeUInt32LE(512, 44);
  front.writeBigUInt64LE(21n, 56);
  front.writeBigUInt64LE(BigInt(overHead), 64);
  front.write('\n \r\n', 73);
  front.writeUInt16LE(1, 77);
  front.write(
    `# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="streamOptimized"\n` +
      `RW ${capacitySectors} SPARSE "call-me-stream.vmdk"\nddb.adapterType = "lsilogic"\n`,
    512,
  );
  for (let i = 0; i < tableCount; i++) front.writeUInt32LE(21 + directorySectors + i * 4, 21 * 512 + i * 4);
  const parts: Uint8Array[] = [front];
  let sector = overHead;
  for (const [grain, record] of records) {
    front.writeUInt32LE(sector, (21 + directorySectors) * 512 + grain * 4);
    parts.push(record);
    sector += record.length / 512;
  }
  if (endOfStream) parts.push(new Uint8Array(512));
  return Buffer.concat(parts);
}

/** A grain's record, by default as a writer makes it. */
export function grainRecord(
  grain: number,
  plain: Uint8Array,
  data: Uint8Array = zlib.deflateSync(plain),
): Uint8Array {
  const record = Buffer.alloc(Math.ceil((12 + data.length) / 512) * 512);
  record.writeBigUInt64LE(BigInt(grain * 128), 0);
  record.writeUInt32LE(data.length, 8);
  record.set(data, 12);
  return record;
}
