import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  convert,
  type Disk,
  denyReferences,
  fileSink,
  fileSource,
  formatNamed,
  type Layout,
  memorySource,
  openDisk,
  type PlanOptions,
  planStored,
  type ReferenceGate,
  suppliedReferences,
  viewOfLayout,
  writeLayout,
} from '@gantry/disk';
import fc from 'fast-check';

const MIB = 2 ** 20;
const seed = new Uint8Array(32).fill(5);
const folder = mkdtempSync(join(tmpdir(), 'gantry-stored-views-'));
after(() => rmSync(folder, { recursive: true }));

/** Program text, a hole, what does not compress, zeros and more text: 70 MiB, of three grain tables. */
function someData(): Uint8Array {
  const program = readFileSync(process.execPath);
  const disk = Buffer.alloc(70 * MIB);
  program.copy(disk, 0, 0, 6 * MIB);
  createCipheriv('aes-128-ctr', seed.subarray(16), seed.subarray(16))
    .update(new Uint8Array(2 * MIB))
    .copy(disk, 30 * MIB);
  program.copy(disk, 60 * MIB, 6 * MIB, 10 * MIB);
  return disk;
}

const raw = join(folder, 'disk.raw');
writeFileSync(raw, someData());

function qemuImg(...args: string[]): string {
  return execFileSync('qemu-img', args, { encoding: 'utf8' });
}

/** Made by qemu-img, once each. */
const made = new Map<string, string>();
function qemuImage(name: string, format: string, ...options: string[]): string {
  const path = made.get(name) ?? join(folder, name);
  if (!made.has(name)) qemuImg('convert', '-f', 'raw', '-O', format, ...options, raw, path);
  made.set(name, path);
  return path;
}

const sources: Readonly<Record<string, () => { path: string; format: string }>> = {
  'qcow2 zlib': () => ({ path: qemuImage('zlib.qcow2', 'qcow2', '-c'), format: 'qcow2' }),
  'qcow2 zstd': () => ({
    path: qemuImage('zstd.qcow2', 'qcow2', '-c', '-o', 'compression_type=zstd'),
    format: 'qcow2',
  }),
  streamOptimized: () => ({
    path: qemuImage('stream.vmdk', 'vmdk', '-o', 'subformat=streamOptimized'),
    format: 'vmdk',
  }),
};

async function withDisk<Result>(
  { path, format, references = denyReferences }: { path: string; format: string; references?: ReferenceGate },
  use: (disk: Disk) => Promise<Result>,
): Promise<Result> {
  const source = await fileSource(path);
  const disk = await openDisk(source, { format, references });
  try {
    return await use(disk);
  } finally {
    await disk.close();
    await source.close();
  }
}

async function requireLayout(disk: Disk, options: PlanOptions): Promise<Layout> {
  const layout = await planStored(disk, options);
  assert.ok(layout !== undefined, 'it is a layout');
  return layout;
}

/** The image inside: of an archive as GNU tar takes it out. */
function imageIn(path: string, format: string): string {
  if (format !== 'oci') return path;
  const inner = `${path}.qcow2`;
  writeFileSync(inner, execFileSync('tar', ['-xOf', path, 'output.QCOW2'], { maxBuffer: 200 * MIB }));
  return inner;
}

const zlib = { compression: 'zlib', seed } as const;
const inFront = { ...zlib, options: { subformat: 'streamOptimized', tables: 'front' } };

const cases: readonly (readonly [from: string, to: string, options: Omit<PlanOptions, 'format'>])[] = [
  ['qcow2 zlib', 'qcow2', zlib],
  ['qcow2 zlib', 'qcow2', { ...zlib, options: { compat: '0.10' } }],
  ['qcow2 zlib', 'oci', zlib],
  ['qcow2 zstd', 'qcow2', { compression: 'zstd', seed }],
  ['streamOptimized', 'qcow2', zlib],
  ['streamOptimized', 'oci', zlib],
  ['streamOptimized', 'vmdk', zlib],
  ['streamOptimized', 'vmdk', inFront],
];

for (const [from, to, options] of cases) {
  const shown = JSON.stringify(options.options ?? {});
  test(`what ${from} holds compressed is shown as ${to} ${shown}, and qemu-img reads it`, async () => {
    await withDisk(sources[from]!(), async (disk) => {
      const layout = await requireLayout(disk, { ...options, format: to });
      const path = join(folder, `view-${from}-${to}`.replaceAll(' ', '-'));
      const sink = await fileSink(path);
      await sink.finish(await writeLayout(layout, disk, sink));
      const image = imageIn(path, to);
      const qemuFormat = to === 'vmdk' ? 'vmdk' : 'qcow2';
      qemuImg('compare', '-f', qemuFormat, '-F', 'raw', image, raw);
      qemuImg('check', '-f', qemuFormat, image);
      const whole = readFileSync(path);
      const report = await formatNamed(to).check?.(memorySource(whole), { references: denyReferences });
      assert.deepEqual(report?.findings, []);
      // Nothing of it is made from the disk's plain bytes.
      for (const piece of layout.pieces(0, layout.lengthBytes)) assert.notEqual(piece.kind, 'disk');
      const view = viewOfLayout(layout, disk);
      await fc.assert(
        fc.asyncProperty(fc.nat(whole.length), fc.nat(300_000), async (start, length) => {
          const part = Buffer.alloc(Math.min(length, whole.length - start));
          await view.read(start, part);
          assert.ok(part.equals(whole.subarray(start, start + part.length)));
        }),
        { numRuns: 100 },
      );
    });
  });
}

for (const [tables, options] of Object.entries({ 'at the end': zlib, 'in front': inFront })) {
  test(`the view of stored grains, tables ${tables}, is the file that a conversion writes`, async () => {
    await withDisk(sources.streamOptimized!(), async (disk) => {
      const asked = { ...options, format: 'vmdk' };
      const path = join(folder, 'converted.vmdk');
      await convert(disk, await fileSink(path), asked);
      const view = viewOfLayout(await requireLayout(disk, asked), disk);
      const bytes = Buffer.alloc(view.lengthBytes);
      await view.read(0, bytes);
      assert.ok(bytes.equals(readFileSync(path)));
    });
  });
}

/** Text that compresses, of this length. */
function textImage(name: string, lengthBytes: number, ...options: string[]): { path: string; plain: string } {
  const plain = join(folder, `${name}.raw`);
  writeFileSync(plain, Buffer.alloc(lengthBytes, readFileSync(import.meta.filename)));
  const path = join(folder, name);
  qemuImg('convert', '-f', 'raw', '-c', '-O', 'qcow2', ...options, plain, path);
  return { path, plain };
}

/** Writes the view of a disk into a file and has qemu-img look at it. */
async function requireView(disk: Disk, options: PlanOptions, plain: string): Promise<void> {
  const layout = await requireLayout(disk, options);
  const path = join(folder, 'view');
  const sink = await fileSink(path);
  await sink.finish(await writeLayout(layout, disk, sink));
  qemuImg('compare', '-f', options.format, '-F', 'raw', path, plain);
  qemuImg('check', '-f', options.format, path);
}

test('clusters of every size are shown, and take no more room than they did', async () => {
  for (let bits = 9; bits <= 21; bits++) {
    const clusterSize = `cluster_size=${2 ** bits}`;
    const { path, plain } = textImage(`c${bits}.qcow2`, 4 * MIB, '-o', clusterSize);
    await withDisk({ path, format: 'qcow2' }, async (disk) => {
      const options = { ...zlib, format: 'qcow2', options: { cluster_size: String(2 ** bits) } };
      await requireView(disk, options, plain);
      const { lengthBytes } = await requireLayout(disk, options);
      // Besides what tables take: ours count references of the tables' clusters first.
      assert.ok(lengthBytes <= readFileSync(path).length + 4 * 2 ** bits, `${lengthBytes} of ${clusterSize}`);
    });
  }
});

test('deflate without a frame is shown as grains, with the frame around it', async () => {
  const { path, plain } = textImage('text.qcow2', 40 * MIB);
  await withDisk({ path, format: 'qcow2' }, async (disk) => {
    for (const options of [zlib, inFront]) await requireView(disk, { ...options, format: 'vmdk' }, plain);
  });
});

test('a unit that the end of the disk cuts is shown when nothing stands behind the end', async () => {
  const { path, plain } = textImage('odd.qcow2', 3 * 65536 + 1024);
  await withDisk({ path, format: 'qcow2' }, (disk) => requireView(disk, { ...zlib, format: 'qcow2' }, plain));
  // The size in the header, made smaller: what stood there is hidden, and stays so.
  const bytes = readFileSync(path);
  bytes.writeBigUInt64BE(BigInt(3 * 65536 + 512), 24);
  writeFileSync(path, bytes);
  await withDisk({ path, format: 'qcow2' }, async (disk) => {
    assert.equal(await planStored(disk, { ...zlib, format: 'qcow2' }), undefined);
  });
});

test('data whose end is missing is not passed on', async () => {
  const { path } = sources.streamOptimized!();
  const bytes = readFileSync(path);
  await withDisk({ path, format: 'vmdk' }, async (disk) => {
    for await (const run of disk.storedRuns!(0, disk.virtualSizeBytes)) {
      if (run.kind !== 'packed' || run.offsetBytes !== 65536) continue;
      // Without its Adler-32, which readers can do without.
      bytes.writeUInt32LE(bytes.readUInt32LE(run.sourceBytes - 4) - 4, run.sourceBytes - 4);
    }
  });
  const cut = join(folder, 'cut.vmdk');
  writeFileSync(cut, bytes);
  await withDisk({ path: cut, format: 'vmdk' }, async (disk) => {
    for (const format of ['qcow2', 'vmdk']) {
      assert.equal(await planStored(disk, { ...zlib, format }), undefined, format);
    }
  });
});

test('where data would have to be compressed there is no such view', async () => {
  const refused: readonly (readonly [from: string, to: string, options: Omit<PlanOptions, 'format'>])[] = [
    // Noise stands in it as it is, which a grain cannot.
    ['qcow2 zlib', 'vmdk', zlib],
    ['qcow2 zlib', 'qcow2', { compression: 'zstd' }],
    ['qcow2 zlib', 'qcow2', { ...zlib, options: { cluster_size: '131072' } }],
    ['qcow2 zlib', 'qcow2', { ...zlib, options: { deflate_window: '12' } }],
    ['qcow2 zstd', 'qcow2', zlib],
    ['streamOptimized', 'qcow2', { compression: 'zstd' }],
    ['streamOptimized', 'ova', zlib],
    ['streamOptimized', 'qcow2', {}],
  ];
  for (const [from, to, options] of refused) {
    await withDisk(sources[from]!(), async (disk) => {
      assert.equal(await planStored(disk, { ...options, format: to }), undefined, `${from} to ${to}`);
    });
  }
  await withDisk({ path: raw, format: 'raw' }, async (disk) => {
    assert.equal(await planStored(disk, { ...zlib, format: 'qcow2' }), undefined, 'nothing is compressed');
  });
});

test('clusters of an overlay and of what it stands on are shown together, where each is whole', async () => {
  const { path: base } = sources['qcow2 zlib']!();
  const overlayOf = (name: string, clusterBytes: number): string => {
    const path = join(folder, name);
    qemuImg(
      'create',
      '-q',
      '-f',
      'qcow2',
      '-F',
      'qcow2',
      '-b',
      base,
      '-o',
      `cluster_size=${clusterBytes}`,
      path,
    );
    execFileSync('qemu-io', ['-c', 'write -P 9 1M 64k', '-c', 'write -P 8 2M 4k', path]);
    return path;
  };
  const opened = (path: string) => ({
    path,
    format: 'qcow2',
    references: suppliedReferences(
      new Map([[base, async () => ({ source: await fileSource(base), format: 'qcow2' })]]),
    ),
  });
  const whole = overlayOf('whole.qcow2', 65536);
  await withDisk(opened(whole), async (disk) => {
    const layout = await requireLayout(disk, { ...zlib, format: 'qcow2' });
    const path = join(folder, 'view-of-overlay.qcow2');
    const sink = await fileSink(path);
    await sink.finish(await writeLayout(layout, disk, sink));
    qemuImg('compare', path, whole);
    qemuImg('check', path);
  });
  // The 4 KiB stand in the midst of what is one cluster below.
  await withDisk(opened(overlayOf('cut.qcow2', 4096)), async (disk) => {
    assert.equal(await planStored(disk, { ...zlib, format: 'qcow2' }), undefined);
  });
});

test('a grain whose marker is of another is refused, and not shown as this one', async () => {
  const damaged = join(folder, 'damaged.vmdk');
  const bytes = readFileSync(sources.streamOptimized!().path);
  await withDisk(sources.streamOptimized!(), async (disk) => {
    for await (const run of disk.storedRuns!(0, disk.virtualSizeBytes)) {
      if (run.kind === 'packed' && run.offsetBytes === 65536) bytes[run.sourceBytes - 12]! ^= 1;
    }
  });
  writeFileSync(damaged, bytes);
  await withDisk({ path: damaged, format: 'vmdk' }, async (disk) => {
    await assert.rejects(planStored(disk, { ...zlib, format: 'qcow2' }), { code: 'IMAGE_MALFORMED' });
  });
});
