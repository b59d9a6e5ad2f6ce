import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  assertSameBytes,
  layoutBytes,
  patternDisk,
  testFolder,
  tool,
  writeLayoutFile,
} from '../../formats/images.testkit.ts';
import { formatNamed } from '../../formats/registry.ts';
import { fileSource } from '../../io/node-file.ts';
import { bytesRegion, zeroRegion } from '../../view/regions.ts';
import { viewOfLayout } from '../../view/view.ts';
import { tarLayout } from './layout.ts';
import { tarMembers } from './reader.ts';
import { listTar } from './tar.testkit.ts';

test('GNU tar and Python list, extract and compare what is written', async (context) => {
  const folder = await testFolder(context);
  const members = [
    { name: 'empty', content: zeroRegion(0) },
    { name: 'block', content: bytesRegion(Buffer.alloc(512, 'b')) },
    { name: 'text.json', content: bytesRegion(Buffer.from('{"a":1}')) },
  ];
  const layout = tarLayout('tar', members);
  assert.equal(layout.lengthBytes % 10240, 0);
  const path = join(folder, 'x.tar');
  await writeLayoutFile(path, layout, patternDisk(0, []));
  assert.equal(await tool('tar', '-tf', path), 'empty\nblock\ntext.json\n');
  assert.match(await tool('tar', '-tvf', path, '--utc'), /-rw-r--r-- 0\/0 +512 2000-01-01 00:00 block/);
  await tool('tar', '-C', folder, '-xf', path);
  await tool('tar', '-C', folder, '-df', path);
  assert.equal((await stat(join(folder, 'block'))).size, 512);
  const script = `
import sys, tarfile
with tarfile.open(sys.argv[1]) as t:
    print([(m.name, m.size, m.mtime, m.uid, m.isreg()) for m in t], t.extractfile('text.json').read())`;
  assert.match(
    await tool('python3', '-c', script, path),
    /\('block', 512, 946684800, 0, True\).*b'\{"a":1\}'/,
  );
});

test('a member above 8 GiB goes into an archive that GNU tar, Python and we read', async (context) => {
  const folder = await testFolder(context);
  const size = 9 * 2 ** 30 + 5;
  const disk = patternDisk(size, [[9 * 2 ** 30, 5]]);
  const image = await formatNamed('raw').plan?.(disk, {
    options: {},
    seed: new Uint8Array(32),
    baseName: 'disk',
  });
  assert.equal(image?.kind, 'layout');
  if (image?.kind !== 'layout') return;
  const layout = tarLayout('tar', [
    { name: 'disk.raw', content: image },
    { name: 'after', content: bytesRegion(Buffer.from('here')) },
  ]);
  const path = join(folder, 'x.tar');
  await writeLayoutFile(path, layout, disk);
  const source = await fileSource(path);
  context.after(() => source.close());
  const found = [];
  for await (const member of tarMembers(source)) {
    const tail = Buffer.alloc(4);
    await member.open().read(member.lengthBytes - 4, tail);
    found.push([member.name, member.lengthBytes, tail.toString('hex')]);
  }
  const expected = Buffer.alloc(4);
  await disk.read(size - 4, expected);
  assert.deepEqual(found, [
    ['disk.raw', size, expected.toString('hex')],
    ['after', 4, Buffer.from('here').toString('hex')],
  ]);
  // Seeking over the member: listing costs nothing.
  assert.match(await tool('tar', '-tvf', path), new RegExp(` ${size} .* disk.raw\n.* 4 .* after\n`));
  const script = 'import sys, tarfile; print([m.size for m in tarfile.open(sys.argv[1])])';
  assert.equal((await tool('python3', '-c', script, path)).trim(), `[${size}, 4]`);
});

test('any range of an archive around a layout is the slice of the whole', async () => {
  const disk = patternDisk(3 * 2 ** 16, [[2 ** 16, 2 ** 16]]);
  const image = await formatNamed('qcow2').plan?.(disk, {
    options: {},
    seed: new Uint8Array(32),
    baseName: 'disk',
  });
  if (image?.kind !== 'layout') throw new Error('qcow2 has a layout');
  const layout = tarLayout('tar', [
    { name: 'a.json', content: bytesRegion(Buffer.from('{}')) },
    { name: 'disk.qcow2', content: image },
  ]);
  const whole = await layoutBytes(layout, disk);
  const view = viewOfLayout(layout, disk);
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: whole.length }), fc.nat({ max: 100_000 }), async (from, length) => {
      const bytes = new Uint8Array(Math.min(length, whole.length - from));
      await view.read(from, bytes);
      assertSameBytes(bytes, whole.subarray(from, from + bytes.length));
    }),
    { numRuns: 50 },
  );
  assert.deepEqual(
    (await listTar(whole)).map(({ name }) => name),
    ['a.json', 'disk.qcow2'],
  );
});
