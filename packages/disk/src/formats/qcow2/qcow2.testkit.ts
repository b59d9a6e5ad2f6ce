import assert from 'node:assert/strict';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import fc from 'fast-check';
import type { Disk, Extent } from '../../disk/disk.ts';
import { type ResolvedReference, suppliedReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import { fileSource } from '../../io/node-file.ts';
import { assertExtentsTellTheTruth, assertSameBytes, diskBytes, tool } from '../images.testkit.ts';
import { openDisk } from '../open.ts';
import { rawDisk } from '../raw/format.ts';
import { assertRunsTellTheTruth } from '../stored-runs.testkit.ts';

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
  snapshot?: string,
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
  const references = suppliedReferences(new Map(openers));
  const disk = await openDisk(source, { format: 'qcow2', references, snapshot });
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
  await assertRunsTellTheTruth(disk);
  for (let from = 0; from < bytes.length; from += 1 + Math.floor(bytes.length / 3))
    await assertRunsTellTheTruth(disk, from, Math.min(bytes.length, from + 100_001));
}

/** A folder's path joined with names. */
export const inFolder =
  (folder: string) =>
  (name: string): string =>
    join(folder, name);

/** Bytes with what compresses (text), what does not (noise), stored zeros and nothing, in the given pieces. */
export interface Content {
  readonly lengthBytes: number;
  readonly pieces: readonly { at: number; length: number; kind: 'text' | 'noise' | 'zeros' }[];
}

const NOISE = randomLikeBytes(2 ** 20);

function randomLikeBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = 1;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** A disk of such content in memory: data where a piece stands, holes elsewhere. */
export function contentDisk(content: Content): { disk: Disk; bytes: Uint8Array } {
  const bytes = new Uint8Array(content.lengthBytes);
  const runs: { from: number; to: number }[] = [];
  for (const { at, length, kind } of content.pieces) {
    const to = Math.min(at + length, bytes.length);
    for (let i = at; i < to; i++) {
      bytes[i] =
        kind === 'zeros' ? 0 : kind === 'text' ? 97 + ((i >> 7) % 20) : (NOISE[i % NOISE.length] ?? 0);
    }
    if (at < to) runs.push({ from: at, to });
  }
  runs.sort((a, b) => a.from - b.from);
  const disk: Disk = {
    ...rawDisk(memorySource(bytes)),
    async *extents(from, to): AsyncGenerator<Extent> {
      let at = from;
      for (const run of runs) {
        const start = Math.min(Math.max(run.from, at), to);
        const end = Math.min(Math.max(run.to, at), to);
        if (start > at) yield { offsetBytes: at, lengthBytes: start - at, kind: 'hole' };
        if (end > start) yield { offsetBytes: start, lengthBytes: end - start, kind: 'data' };
        at = end;
      }
      if (at < to) yield { offsetBytes: at, lengthBytes: to - at, kind: 'hole' };
    },
  };
  return { disk, bytes };
}

/** Content of up to 3 MiB, any length, with pieces around the borders of clusters. */
export const contents: fc.Arbitrary<Content> = fc.record({
  lengthBytes: fc.oneof(
    fc.nat({ max: 3 * 2 ** 20 }),
    fc.nat({ max: 5000 }),
    fc.constantFrom(0, 1, 512, 65536, 2 ** 20),
  ),
  pieces: fc.array(
    fc.record({
      at: fc.oneof(
        fc.nat({ max: 3 * 2 ** 20 }),
        fc.nat({ max: 48 }).map((i) => i * 65536),
      ),
      length: fc.oneof(fc.nat({ max: 300_000 }), fc.constantFrom(1, 512, 65536, 131_072)),
      kind: fc.constantFrom('text' as const, 'noise' as const, 'zeros' as const),
    }),
    { maxLength: 8 },
  ),
});

/** Asserts that qemu-img reads an image as these bytes (zeros after them) and finds nothing wrong with it. */
export async function assertQemuReadsAs(
  folder: string,
  image: Uint8Array,
  bytes: Uint8Array,
  what: string,
): Promise<void> {
  const at = inFolder(folder);
  await writeFile(at('written.qcow2'), image);
  await writeFile(at('expected.raw'), bytes);
  await truncate(at('expected.raw'), Math.ceil(bytes.length / 512) * 512);
  const compare = ['compare', '-f', 'qcow2', '-F', 'raw', at('written.qcow2'), at('expected.raw')];
  assert.equal(await tool('qemu-img', ...compare), 'Images are identical.\n', what);
  assert.match(await tool('qemu-img', 'check', '-f', 'qcow2', at('written.qcow2')), /No errors/, what);
}
