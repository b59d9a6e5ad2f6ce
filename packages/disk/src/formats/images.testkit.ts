import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import type { Disk } from '../disk/disk.ts';
import { denyReferences } from '../disk/reference-gate.ts';
import type { ByteSource } from '../io/byte-source.ts';
import { memorySource } from '../io/memory.ts';
import { fileSink, fileSource } from '../io/node-file.ts';
import type { Layout } from '../view/layout.ts';
import { viewOfLayout } from '../view/view.ts';
import type { Format } from './format.ts';

const run = promisify(execFile);

/** Runs a program that we did not write and gives what it printed; a failure throws with its stderr. */
export async function tool(program: string, ...args: string[]): Promise<string> {
  const { stdout } = await run(program, args);
  return stdout;
}

/** A fresh folder that goes when the test ends. */
export async function testFolder(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-disk-'));
  context.after(() => rm(folder, { recursive: true }));
  return folder;
}

/** A byte of the pattern that test disks are filled with: not zero, no period of a power of two. */
function patternByte(offset: number): number {
  return 1 + (((offset % 2_147_483_629) * 2_654_435 + Math.floor(offset / 4096)) % 251);
}

/** [offset, length] of data; everything else is a hole. */
export type Runs = readonly (readonly [offsetBytes: number, lengthBytes: number])[];

/** A disk of any size that costs what its runs cost. The runs are in order and apart. */
export function patternDisk(virtualSizeBytes: number, runs: Runs): Disk {
  return {
    format: 'pattern',
    virtualSizeBytes,
    details: {},
    warnings: [],
    async *extents(from, to) {
      let at = from;
      for (const [start, length] of [...runs, [to, 0] as const]) {
        const dataFrom = Math.min(Math.max(start, at), to);
        const dataTo = Math.min(Math.max(start + length, at), to);
        if (at < dataFrom) yield { offsetBytes: at, lengthBytes: dataFrom - at, kind: 'hole' };
        if (dataFrom < dataTo) yield { offsetBytes: dataFrom, lengthBytes: dataTo - dataFrom, kind: 'data' };
        at = dataTo;
      }
    },
    async read(offset, into) {
      into.fill(0);
      for (const [start, length] of runs) {
        const to = Math.min(start + length, offset + into.length);
        for (let at = Math.max(start, offset); at < to; at++) into[at - offset] = patternByte(at);
      }
    },
    async close() {},
  };
}

/** Writes a pattern disk as a raw file with holes. */
export async function writeRaw(path: string, virtualSizeBytes: number, runs: Runs): Promise<void> {
  const file = await open(path, 'w');
  await file.truncate(virtualSizeBytes);
  const disk = patternDisk(virtualSizeBytes, runs);
  for (const [start, length] of runs) {
    const bytes = new Uint8Array(length);
    await disk.read(start, bytes);
    await file.write(bytes, 0, length, start);
  }
  await file.close();
}

/** Plans a file of a format that has an exact length. */
export async function planLayout(
  format: Format,
  disk: Disk,
  options: Readonly<Record<string, string>> = {},
  seed: Uint8Array = new Uint8Array(32),
): Promise<Layout> {
  const plan = await format.plan?.(disk, { options, seed, baseName: 'disk' });
  assert.equal(plan?.kind, 'layout');
  return plan as Layout;
}

/** Writes a layout to a file, without its zeros. */
export async function writeLayoutFile(path: string, layout: Layout, disk: Disk): Promise<void> {
  const sink = await fileSink(path);
  const view = viewOfLayout(layout, disk);
  let at = 0;
  for (const piece of layout.pieces(0, layout.lengthBytes)) {
    const length = piece.kind === 'bytes' ? piece.bytes.length : piece.lengthBytes;
    if (piece.kind !== 'zero') {
      const bytes = new Uint8Array(length);
      await view.read(at, bytes);
      await sink.write(at, bytes);
    }
    at += length;
  }
  await sink.finish(layout.lengthBytes);
}

/** All bytes of a layout's file. */
export async function layoutBytes(layout: Layout, disk: Disk): Promise<Uint8Array> {
  return sourceBytes(viewOfLayout(layout, disk));
}

export async function sourceBytes(source: ByteSource): Promise<Uint8Array> {
  const bytes = new Uint8Array(source.lengthBytes);
  await source.read(0, bytes);
  return bytes;
}

/** All bytes that the guest sees. */
export async function diskBytes(disk: Disk): Promise<Uint8Array> {
  const bytes = new Uint8Array(disk.virtualSizeBytes);
  await disk.read(0, bytes);
  return bytes;
}

/** Opens the bytes of an image, with references denied. */
export async function openBytes(format: Format, bytes: Uint8Array): Promise<Disk> {
  return format.open(memorySource(bytes, 'image'), { references: denyReferences });
}

/** Opens an image file until the test ends, with references denied. */
export async function openFile(context: TestContext, format: Format, path: string): Promise<Disk> {
  const source = await fileSource(path);
  context.after(() => source.close());
  return format.open(source, { references: denyReferences });
}

/** Asserts that equal bytes are equal, without printing megabytes when they are not. */
export function assertSameBytes(actual: Uint8Array, expected: Uint8Array, what = 'bytes'): void {
  assert.equal(actual.length, expected.length, `${what}: length`);
  const at =
    Buffer.compare(actual, expected) === 0 ? -1 : actual.findIndex((byte, i) => byte !== expected[i]);
  assert.equal(at, -1, `${what}: first difference`);
}

/** Asserts that extents cover the disk exactly and that everything outside of `data` reads as zeros. */
export async function assertExtentsTellTheTruth(disk: Disk): Promise<void> {
  let at = 0;
  for await (const { offsetBytes, lengthBytes, kind } of disk.extents(0, disk.virtualSizeBytes)) {
    assert.equal(offsetBytes, at, 'extents follow each other');
    assert.ok(lengthBytes > 0, 'no extent is empty');
    at += lengthBytes;
    if (kind === 'data') continue;
    const bytes = new Uint8Array(lengthBytes);
    bytes.fill(1);
    await disk.read(offsetBytes, bytes);
    assert.ok(
      bytes.every((byte) => byte === 0),
      `the ${kind} at ${offsetBytes} reads as zeros`,
    );
  }
  assert.equal(at, disk.virtualSizeBytes, 'extents cover the disk');
}

/** A source that notes what is read from it. */
export function recordingSource(
  bytes: Uint8Array,
): ByteSource & { reads: (readonly [offsetBytes: number, lengthBytes: number])[] } {
  const source = memorySource(bytes);
  const reads: (readonly [number, number])[] = [];
  return {
    ...source,
    reads,
    async read(offsetBytes, into, signal) {
      reads.push([offsetBytes, into.length]);
      await source.read(offsetBytes, into, signal);
    },
  };
}
