import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { inflateRawSync } from 'node:zlib';
import { convert, type Disk, denyReferences, fileSink, fileSource, openDisk } from '@gantry/disk';
import { root } from '../house/files.ts';

const folder = mkdtempSync(join(tmpdir(), 'gantry-passing-'));
after(() => rmSync(folder, { recursive: true }));

/** Programs and texts, some of it twice: 24 MiB that compress by half. */
function someData(): Uint8Array {
  const node = readFileSync(process.execPath).subarray(0, 16 * 2 ** 20);
  const text = Buffer.alloc(8 * 2 ** 20, readFileSync(import.meta.filename));
  return Buffer.concat([node, text]);
}

const raw = join(folder, 'disk.raw');
writeFileSync(raw, someData());

function qemuImage(format: string, ...options: string[]): string {
  const path = join(folder, `qemu-${format}`);
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', format, ...options, raw, path]);
  return path;
}

async function withDisk<Result>(
  path: string,
  format: string,
  use: (disk: Disk) => Promise<Result>,
): Promise<Result> {
  const source = await fileSource(path);
  const disk = await openDisk(source, { format, references: denyReferences });
  try {
    return await use(disk);
  } finally {
    await disk.close();
    await source.close();
  }
}

/** The deflate data of each compressed unit, by where the unit stands. */
async function deflateData(path: string, format: string): Promise<Map<number, string>> {
  return withDisk(path, format, async (disk) => {
    const found = new Map<number, string>();
    for await (const run of disk.storedRuns!(0, disk.virtualSizeBytes)) {
      if (run.kind !== 'packed') continue;
      const stored = Buffer.alloc(run.storedBytes);
      await run.source.read(run.sourceBytes, stored);
      const deflate = run.compression === 'zlib' ? stored.subarray(2) : stored;
      const { engine } = inflateRawSync(deflate, { info: true, finishFlush: 2 }) as unknown as {
        engine: { bytesWritten: number };
      };
      const exact = deflate.subarray(0, engine.bytesWritten);
      found.set(run.offsetBytes, createHash('sha256').update(exact).digest('hex'));
    }
    return found;
  });
}

for (const [from, to] of [
  ['qcow2', 'vmdk'],
  ['vmdk', 'qcow2'],
  ['qcow2', 'qcow2'],
  ['vmdk', 'vmdk'],
] as const) {
  test(`what ${from} holds compressed stands in ${to} as it was, and qemu-img reads it`, async () => {
    const options = { qcow2: ['-c'], vmdk: ['-o', 'subformat=streamOptimized'] };
    const source = qemuImage(from, ...options[from]);
    const target = join(folder, `ours-${to}`);
    await withDisk(source, from, async (disk) => {
      await convert(disk, await fileSink(target), { format: to, compression: 'zlib' });
    });
    execFileSync('qemu-img', ['compare', '-f', to, '-F', 'raw', target, raw]);
    execFileSync('qemu-img', ['check', '-f', to, target]);
    const [before, afterwards] = [await deflateData(source, from), await deflateData(target, to)];
    assert.ok(before.size > 200);
    for (const [offsetBytes, hash] of before)
      assert.equal(afterwards.get(offsetBytes), hash, `${offsetBytes}`);
  });
}

test('one processor and all of them make the same files', () => {
  assert.ok(availableParallelism() > 1, 'this machine has more than one processor');
  const launcher = join(root, 'packages/cli/bin/gantry.cjs');
  const forms = [
    ['raw'],
    ['qcow2'],
    ['vdi'],
    ['vhdx'],
    ['qcow2', '--compress', 'zlib'],
    ['qcow2', '--compress', 'zstd'],
    ['vmdk', '-O', 'subformat=streamOptimized'],
    ['zvhd'],
    ['zvhd2'],
  ];
  for (const [form = '', ...more] of forms) {
    const hashes = [[], ['taskset', '--cpu-list', '0']].map((before) => {
      const target = join(folder, 'target');
      const args = ['--seed', '00'.repeat(32), '--from', 'raw', '--to', form, ...more, raw, target];
      const node = [
        process.execPath,
        '--conditions=source',
        launcher,
        'disk',
        'convert',
        '--progress',
        'none',
      ];
      const [command = '', ...rest] = [...before, ...node, ...args];
      execFileSync(command, rest, { stdio: 'pipe' });
      return createHash('sha256').update(readFileSync(target)).digest('hex');
    });
    assert.equal(hashes[0], hashes[1], form);
  }
});
