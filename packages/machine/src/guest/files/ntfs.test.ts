import assert from 'node:assert/strict';
import { link, mkdir, readFile, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { memorySource } from '@gantry/disk';
import { Budget } from '../budget.ts';
import { Findings } from '../findings.ts';
import { applyToNtfs, MIB, makeNtfs, peer, type Tree, temporaryFolder } from '../images.testkit.ts';
import { usualLimits } from '../limits.ts';
import { GuestFiles } from './guest-files.ts';
import { recogniseFileSystem } from './recognise.ts';

const large = Uint8Array.from({ length: 3 * MIB + 123 }, (_, i) => (i * 7 + Math.floor(i / 4096)) % 251);
const tree: Tree = {
  'small.txt': 'in the record',
  empty: '',
  large,
  'deep/A/b/C/d/file with ünïcode žluť 𝄞': 'deep',
  ...Object.fromEntries(
    Array.from({ length: 900 }, (_, i) => [`many/a file with a rather long name, number ${i}`, `${i}`]),
  ),
};

async function opened(bytes: Uint8Array) {
  const findings = new Findings();
  const found = await recogniseFileSystem(memorySource(bytes), new Budget(usualLimits), 'here', findings);
  assert.ok(found?.open, 'a file system that is read');
  return { found, findings, files: new GuestFiles(new Map([['/', await found.open()]])) };
}

for (const args of [[], ['-c', '512'], ['-c', '65536'], ['-s', '4096', '-c', '4096']]) {
  test(`files of mkntfs ${args.join(' ')} are read in either case`, async (t) => {
    const folder = await temporaryFolder(t);
    const { found, files, findings } = await opened(await makeNtfs(folder, tree, args));
    assert.equal(found.kind, 'ntfs');
    assert.match(found.uuid ?? '', /^[0-9A-F]{16}$/);
    for (const [path, content] of Object.entries(tree)) {
      const bytes = await files.head(`/${path}`, 4 * MIB);
      assert.deepEqual(Buffer.from(bytes ?? []), Buffer.from(content as string | Uint8Array), path);
    }
    assert.equal((await files.names('/MANY')).length, 900);
    assert.equal(await files.text('/DEEP/a/B/c/D/FILE WITH ÜNÏCODE ŽLUŤ 𝄞'), 'deep');
    assert.equal(await files.has('/deep/none'), false);
    assert.deepEqual(findings.list, []);
  });
}

test('a file whose attributes fill several records is read by each of its names', async (t) => {
  const folder = await temporaryFolder(t);
  const root = `${folder}/linked`;
  await mkdir(root);
  await writeFile(`${root}/first`, large);
  const names = Array.from(
    { length: 60 },
    (_, i) => `another name of the same file, and a long one, number ${i}`,
  );
  for (const name of names) await link(`${root}/first`, `${root}/${name}`);
  const bytes = await applyToNtfs(root, ['-c', '512'], 16 * MIB);
  await writeFile(`${folder}/image`, bytes);
  assert.match(await peer('ntfsinfo', ['-F', '/first', `${folder}/image`]), /\$ATTRIBUTE_LIST/);
  const { files } = await opened(bytes);
  for (const name of ['first', ...names]) {
    assert.deepEqual(Buffer.from((await files.head(`/${name}`, 4 * MIB)) ?? []), Buffer.from(large), name);
  }
});

test('a volume that is to be checked is told to be dirty', async (t) => {
  const folder = await temporaryFolder(t);
  const image = `${folder}/dirty.img`;
  await writeFile(image, await makeNtfs(folder, { 'small.txt': 'small' }, [], 4 * MIB));
  // ntfsfix leaves the check to Windows' next start.
  await peer('ntfsfix', [image]);
  const { findings } = await opened(new Uint8Array(await readFile(image)));
  assert.deepEqual(
    findings.list.map(({ code }) => code),
    ['NTFS_DIRTY'],
  );
});
