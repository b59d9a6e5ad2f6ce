import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Disk } from '../../disk/disk.ts';
import { type ResolvedReference, suppliedReferences } from '../../disk/reference-gate.ts';
import { fileSource } from '../../io/node-file.ts';
import { assertExtentsTellTheTruth, assertSameBytes, diskBytes, tool } from '../images.testkit.ts';
import { openDisk } from '../open.ts';

/** Makes a qcow2 with qemu-img and runs qemu-io commands on it. */
export async function qemuImage(
  path: string,
  size: string,
  options: string,
  commands: readonly string[] = [],
): Promise<string> {
  const withOptions = options === '' ? [] : ['-o', options];
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', ...withOptions, path, size);
  await qemuIo(path, commands);
  return path;
}

export async function qemuIo(path: string, commands: readonly string[]): Promise<void> {
  if (commands.length > 0)
    await tool('qemu-io', '-f', 'qcow2', ...commands.flatMap((command) => ['-c', command]), path);
}

/** What qemu reads of an image, as bytes. */
export async function qemuBytes(path: string, format = 'qcow2'): Promise<Uint8Array> {
  const raw = `${path}.raw`;
  await tool('qemu-img', 'convert', '-f', format, '-O', 'raw', path, raw);
  return readFile(raw);
}

/** Opens a file until the test ends. Names inside of it may mean these files and their formats, no others. */
export async function openWithFiles(
  context: TestContext,
  path: string,
  files: Readonly<Record<string, { path: string; format?: string }>> = {},
): Promise<Disk> {
  const openers = Object.entries(files).map(([name, file]) => {
    const open = async (): Promise<ResolvedReference> => ({
      source: await fileSource(file.path),
      format: file.format,
    });
    return [name, open] as const;
  });
  const source = await fileSource(path);
  context.after(() => source.close());
  const disk = await openDisk(source, { format: 'qcow2', references: suppliedReferences(new Map(openers)) });
  context.after(() => disk.close());
  return disk;
}

/** Asserts that a disk reads as these bytes: whole, in parts at odd places, and by its extents. */
export async function assertReadsAs(disk: Disk, bytes: Uint8Array, what: string): Promise<void> {
  assert.equal(disk.virtualSizeBytes, bytes.length, `${what}: virtual size`);
  assertSameBytes(await diskBytes(disk), bytes, what);
  for (let i = 0; i < 40 && bytes.length > 0; i++) {
    const from = (i * 1_000_003 + 511) % bytes.length;
    const length = Math.min(bytes.length - from, [1, 511, 4096, 70_001][i % 4] ?? 0);
    const part = new Uint8Array(length).fill(0xee);
    await disk.read(from, part);
    assertSameBytes(part, bytes.subarray(from, from + length), `${what}: ${length} bytes at ${from}`);
  }
  await assertExtentsTellTheTruth(disk);
}

/** A folder's path joined with names. */
export const inFolder =
  (folder: string) =>
  (name: string): string =>
    join(folder, name);
