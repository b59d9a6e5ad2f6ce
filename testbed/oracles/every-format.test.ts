import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  convertFiles,
  type Disk,
  diskDigest,
  fileSink,
  fileSource,
  ImageError,
  openDisk,
  type ReferenceGate,
} from '@gantry/disk';
import { type Form, forms } from './forms.ts';

const MIB = 2 ** 20;
const TIB = 2 ** 40;

const folder = mkdtempSync(join(tmpdir(), 'gantry-forms-'));
after(() => rmSync(folder, { recursive: true }));

/** A raw file with these pieces of data. */
function rawFile(
  name: string,
  lengthBytes: number,
  pieces: readonly (readonly [number, Uint8Array])[],
): string {
  const path = join(folder, `${name}.raw`);
  const file = openSync(path, 'w');
  for (const [offsetBytes, bytes] of pieces) writeSync(file, bytes, 0, bytes.length, offsetBytes);
  ftruncateSync(file, lengthBytes);
  closeSync(file);
  return path;
}

function text(lengthBytes: number): Uint8Array {
  const words = new TextEncoder().encode('the quick brown fox jumps over the lazy dog. ');
  return Uint8Array.from({ length: lengthBytes }, (_, i) => words[(i * 7) % words.length]!);
}

function noise(lengthBytes: number): Uint8Array {
  let state = 42;
  return Uint8Array.from({ length: lengthBytes }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  });
}

/** Text, noise, zeros and lone bytes; its end fills neither a cluster nor a megabyte. */
function mixedDisk(): string {
  const lengthBytes = 17 * MIB + 512 * 3;
  const lone = Array.from(
    { length: 12 },
    (_, i) => [9 * MIB + 17 + i * 333_331, Uint8Array.of(i + 1)] as const,
  );
  return rawFile('mixed', lengthBytes, [
    [0, text(1.5 * MIB)],
    [4 * MIB, noise(2 * MIB)],
    ...lone,
    [lengthBytes - 1, Uint8Array.of(1)],
  ]);
}

/** Opens names as files beside the image: what it was written with. */
function besideGate(path: string): ReferenceGate {
  return {
    resolve: async ({ name }) => ({ source: await fileSource(join(dirname(path), name)) }),
  };
}

async function withDisk<Result>(
  path: string,
  format: string,
  use: (disk: Disk) => Promise<Result>,
): Promise<Result> {
  const source = await fileSource(path);
  try {
    const disk = await openDisk(source, { references: besideGate(path), format });
    try {
      return await use(disk);
    } finally {
      await disk.close();
    }
  } finally {
    await source.close();
  }
}

let written = 0;

/** Writes the disk into a folder of its own; gives the path of the file to open it by. */
async function write(disk: Disk, { format, options = {}, compression }: Form): Promise<string> {
  const own = join(folder, `${written++}`);
  mkdirSync(own);
  const openSink = (name: string) => fileSink(join(own, name));
  const files = await convertFiles(disk, openSink, { format, options, compression, baseName: 'disk' });
  return join(own, files[0]!.name);
}

async function requireDigest(path: string, form: Form, digest: string, what: string): Promise<void> {
  assert.equal(await withDisk(path, form.format, (disk) => diskDigest(disk)), digest, what);
}

function requirePeersAgree(path: string, { qemuFormat, checked, peer }: Form, original: string): void {
  if (qemuFormat !== undefined) {
    execFileSync('qemu-img', ['compare', '-f', qemuFormat, '-F', 'raw', path, original]);
    if (checked) execFileSync('qemu-img', ['check', '-f', qemuFormat, path]);
  }
  if (peer !== undefined) execFileSync(peer[0]!, [...peer.slice(1), path], { stdio: 'pipe' });
}

const mixed = { path: '', digest: '' };
before(async () => {
  mixed.path = mixedDisk();
  mixed.digest = await withDisk(mixed.path, 'raw', (disk) => diskDigest(disk));
});

for (const from of forms) {
  test(`${from.name} becomes every other form with the same digest`, async () => {
    const source = await withDisk(mixed.path, 'raw', (disk) => write(disk, from));
    requirePeersAgree(source, from, mixed.path);
    await withDisk(source, from.format, async (disk) => {
      for (const to of forms) {
        const target = await write(disk, to);
        await requireDigest(target, to, mixed.digest, `${from.name} to ${to.name}`);
        rmSync(dirname(target), { recursive: true });
      }
    });
    rmSync(dirname(source), { recursive: true });
  });
}

for (const { qemuArguments, ...from } of forms) {
  if (qemuArguments === undefined || from.qemuFormat === undefined) continue;
  const qemuFormat = from.qemuFormat;
  test(`${from.name} made by qemu-img is read, and what becomes of it qemu-img reads alike`, async () => {
    const own = join(folder, `${written++}`);
    mkdirSync(own);
    const source = join(own, 'disk');
    execFileSync('qemu-img', [
      'convert',
      '-f',
      'raw',
      '-O',
      qemuFormat,
      ...qemuArguments,
      mixed.path,
      source,
    ]);
    await requireDigest(source, from, mixed.digest, from.name);
    await withDisk(source, from.format, async (disk) => {
      const target = await write(disk, from);
      requirePeersAgree(target, from, mixed.path);
      rmSync(dirname(target), { recursive: true });
    });
    rmSync(own, { recursive: true });
  });
}

const otherDisks = {
  'an empty disk': () => rawFile('empty', 5 * MIB, []),
  'a disk of odd length': () => rawFile('odd', 3_000_001, [[1_000_000, text(2_000_001)]]),
  'a disk of noise': () => rawFile('noise', 4 * MIB, [[0, noise(4 * MIB)]]),
};

for (const [name, make] of Object.entries(otherDisks)) {
  test(`${name} goes into every form and out again`, async () => {
    const original = make();
    const digest = await withDisk(original, 'raw', (disk) => diskDigest(disk));
    for (const form of forms) {
      const path = await withDisk(original, 'raw', (disk) => write(disk, form));
      await requireDigest(path, form, digest, form.name);
      requirePeersAgree(path, form, original);
      await withDisk(path, form.format, async (disk) => {
        const back = await write(disk, { name: 'raw', format: 'raw' });
        await requireDigest(back, { name: 'raw', format: 'raw' }, digest, `${form.name} to raw`);
        rmSync(dirname(back), { recursive: true });
      });
      rmSync(dirname(path), { recursive: true });
    }
  });
}

test('a sparse disk of 3 TiB goes into every form that holds it, and is refused by the others', async () => {
  const original = rawFile('sparse', 3 * TIB, [
    [0, text(100_000)],
    [TIB + 12_345, noise(200_000)],
    [3 * TIB - 512, text(512)],
  ]);
  // Through qcow2: its extents are few on every file system.
  const qcow2: Form = { name: 'qcow2', format: 'qcow2' };
  const dense = await withDisk(original, 'raw', (disk) => write(disk, qcow2));
  const digest = await withDisk(dense, 'qcow2', (disk) => diskDigest(disk));
  execFileSync('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', dense, original]);
  for (const form of forms) {
    const make = () => withDisk(dense, 'qcow2', (disk) => write(disk, form));
    if ((form.limitBytes ?? Infinity) < 3 * TIB) {
      await assert.rejects(
        make,
        (error) => error instanceof ImageError && error.code === 'IMAGE_LIMIT',
        form.name,
      );
      continue;
    }
    const path = await make();
    await requireDigest(path, form, digest, form.name);
    rmSync(dirname(path), { recursive: true });
  }
});
