// What the tests of this folder share; it has no tests of its own.
import { execFile } from 'node:child_process';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import type { Disk } from '../../disk/disk.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { memorySink, memorySource } from '../../io/memory.ts';
import { fileSource } from '../../io/node-file.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import type { Layout } from '../../view/layout.ts';
import { viewOfLayout } from '../../view/view.ts';
import type { WriteRequest } from '../format.ts';
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
  return { options, seed: SEED, ...more };
}

export async function planLayout(disk: Disk, options: Record<string, string> = {}): Promise<Layout> {
  const plan = await vmdk.plan!(disk, request(options));
  if (plan.kind !== 'layout') throw new Error('not a layout');
  return plan;
}

export async function planStream(disk: Disk, more: Partial<WriteRequest> = {}): Promise<ImageStream> {
  const plan = await vmdk.plan!(disk, request({}, { compression: 'zlib', ...more }));
  if (plan.kind !== 'stream') throw new Error('not a stream');
  return plan;
}

/** A small file of the format in memory. */
export async function written(disk: Disk, subformat: string): Promise<Uint8Array> {
  const plan = await vmdk.plan!(disk, request({ subformat }));
  if (plan.kind === 'stream') {
    const sink = memorySink();
    let end = 0;
    for await (const { offsetBytes, bytes } of plan.chunks({})) {
      await sink.write(offsetBytes, bytes);
      end = offsetBytes + bytes.length;
    }
    await sink.finish(end);
    return sink.bytes();
  }
  const bytes = new Uint8Array(plan.lengthBytes);
  await viewOfLayout(plan, disk).read(0, bytes);
  return bytes;
}

/** Writes a plan to a file, leaving its zeros out. */
export async function writeFileOf(disk: Disk, plan: Layout | ImageStream, path: string): Promise<void> {
  const handle = await open(path, 'wx');
  try {
    let at = 0;
    if (plan.kind === 'stream') {
      for await (const { offsetBytes, bytes } of plan.chunks({})) {
        await handle.write(bytes, 0, bytes.length, offsetBytes);
        at = offsetBytes + bytes.length;
      }
    } else {
      for (const piece of plan.pieces(0, plan.lengthBytes)) {
        const length = piece.kind === 'bytes' ? piece.bytes.length : piece.lengthBytes;
        if (piece.kind === 'bytes') await handle.write(piece.bytes, 0, length, at);
        if (piece.kind === 'disk') {
          const bytes = new Uint8Array(length);
          const inside = Math.min(length, disk.virtualSizeBytes - piece.offsetBytes);
          await disk.read(piece.offsetBytes, bytes.subarray(0, inside));
          await handle.write(bytes, 0, length, at);
        }
        at += length;
      }
    }
    await handle.truncate(at);
  } finally {
    await handle.close();
  }
}

/** Writes a disk as a raw file, leaving its holes out. */
export async function writeRaw(disk: Disk, path: string): Promise<void> {
  const handle = await open(path, 'wx');
  try {
    for await (const extent of disk.extents(0, disk.virtualSizeBytes)) {
      if (extent.kind !== 'data') continue;
      const bytes = new Uint8Array(extent.lengthBytes);
      await disk.read(extent.offsetBytes, bytes);
      await handle.write(bytes, 0, bytes.length, extent.offsetBytes);
    }
    await handle.truncate(disk.virtualSizeBytes);
  } finally {
    await handle.close();
  }
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
