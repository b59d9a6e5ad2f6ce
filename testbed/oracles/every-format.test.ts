import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { convert, type Disk, denyReferences, diskDigest, fileSink, fileSource, openDisk } from '@gantry/disk';

/** One disk as a file of a form that qemu-img knows. */
interface Form {
  readonly name: string;
  readonly format: string;
  /** qemu-img's name of the format. */
  readonly qemuFormat: string;
  /** How qemu-img writes it; absent where it does not write this form. */
  readonly qemuArguments?: readonly string[];
  readonly options?: Record<string, string>;
  readonly compression?: 'zlib' | 'zstd';
  /** `qemu-img check` knows the format. */
  readonly checked?: boolean;
}

const forms: readonly Form[] = [
  { name: 'raw', format: 'raw', qemuFormat: 'raw', qemuArguments: [] },
  { name: 'qcow2', format: 'qcow2', qemuFormat: 'qcow2', qemuArguments: [], checked: true },
  {
    name: 'qcow2 version 2',
    format: 'qcow2',
    qemuFormat: 'qcow2',
    qemuArguments: ['-o', 'compat=0.10'],
    options: { compat: '0.10' },
    checked: true,
  },
  {
    name: 'qcow2 zlib',
    format: 'qcow2',
    qemuFormat: 'qcow2',
    qemuArguments: ['-c'],
    compression: 'zlib',
    checked: true,
  },
  {
    name: 'qcow2 zstd',
    format: 'qcow2',
    qemuFormat: 'qcow2',
    qemuArguments: ['-c', '-o', 'compression_type=zstd'],
    compression: 'zstd',
    checked: true,
  },
  { name: 'VMDK', format: 'vmdk', qemuFormat: 'vmdk', qemuArguments: [], checked: true },
  {
    name: 'VMDK streamOptimized',
    format: 'vmdk',
    qemuFormat: 'vmdk',
    qemuArguments: ['-o', 'subformat=streamOptimized'],
    options: { subformat: 'streamOptimized' },
    checked: true,
  },
  { name: 'VDI', format: 'vdi', qemuFormat: 'vdi', qemuArguments: [], checked: true },
  {
    name: 'VDI fixed',
    format: 'vdi',
    qemuFormat: 'vdi',
    qemuArguments: ['-o', 'static=on'],
    options: { subformat: 'fixed' },
    checked: true,
  },
  { name: 'VHD', format: 'vhd', qemuFormat: 'vpc', qemuArguments: ['-o', 'force_size=on'] },
  {
    name: 'VHD fixed',
    format: 'vhd',
    qemuFormat: 'vpc',
    qemuArguments: ['-o', 'subformat=fixed,force_size=on'],
    options: { subformat: 'fixed' },
  },
];

const folder = mkdtempSync(join(tmpdir(), 'gantry-forms-'));
const original = join(folder, 'original.raw');
let originalDigest = '';

before(async () => {
  writeFileSync(original, mixedDisk());
  originalDigest = await withDisk(original, 'raw', (disk) => diskDigest(disk));
});
after(() => rmSync(folder, { recursive: true }));

/** Text, noise, zeros and lone bytes; its end fills neither a cluster nor a megabyte. */
function mixedDisk(): Uint8Array {
  const disk = new Uint8Array(37 * 1024 * 1024 + 512 * 3);
  const text = new TextEncoder().encode('the quick brown fox jumps over the lazy dog. ');
  for (let at = 0; at < 3 * 1024 * 1024; at++) disk[at] = text[(at * 7) % text.length]!;
  let state = 42;
  for (let at = 9 * 1024 * 1024; at < 12 * 1024 * 1024; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    disk[at] = state >>> 24;
  }
  for (let at = 20 * 1024 * 1024 + 17; at < 33 * 1024 * 1024; at += 333_331) disk[at] = at % 255;
  disk[disk.length - 1] = 1;
  return disk;
}

async function withDisk<Result>(
  path: string,
  format: string,
  use: (disk: Disk) => Promise<Result>,
): Promise<Result> {
  const source = await fileSource(path);
  try {
    const disk = await openDisk(source, { references: denyReferences, format });
    try {
      return await use(disk);
    } finally {
      await disk.close();
    }
  } finally {
    await source.close();
  }
}

for (const from of forms) {
  test(`${from.name} made by qemu-img becomes every other form with the same digest, and qemu-img agrees`, async () => {
    const source = join(folder, `from-${from.name}`);
    const write = [
      'convert',
      '-f',
      'raw',
      '-O',
      from.qemuFormat,
      ...(from.qemuArguments ?? []),
      original,
      source,
    ];
    execFileSync('qemu-img', write);
    await withDisk(source, from.format, async (disk) => {
      for (const to of forms) {
        const target = join(folder, `to-${to.name}`);
        const { format, options = {}, compression } = to;
        await convert(disk, await fileSink(target), { format, options, compression });
        const digest = await withDisk(target, format, (converted) => diskDigest(converted));
        assert.equal(digest, originalDigest, `${from.name} to ${to.name}`);
        execFileSync('qemu-img', ['compare', '-f', to.qemuFormat, '-F', 'raw', target, original]);
        if (to.checked) execFileSync('qemu-img', ['check', '-f', to.qemuFormat, target]);
        rmSync(target);
      }
    });
    rmSync(source);
  });
}
