import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { memorySource } from '@gantry/disk';
import { Budget } from '../budget.ts';
import { Findings } from '../findings.ts';
import { MIB, makeExt, makeFat, peer, type Tree, temporaryFolder } from '../images.testkit.ts';
import { usualLimits } from '../limits.ts';
import { GuestFiles } from './guest-files.ts';
import { recogniseFileSystem } from './recognise.ts';

const large = Uint8Array.from({ length: 3 * MIB + 123 }, (_, i) => (i * 7 + Math.floor(i / 4096)) % 251);

/** Folders of one block and of many, files without, with one and with many blocks, names of every kind. */
const tree: Tree = {
  'etc/os-release': 'ID=debian\n',
  'etc/empty': '',
  'etc/large': large,
  'etc/a name with spaces and ünïcode žluť.txt': 'named\n',
  'usr/bin/': '',
  'usr/bin/sh': 'a shell',
  'deep/a/b/c/d/e/f/g/h': 'deep\n',
  ...Object.fromEntries(
    Array.from({ length: 400 }, (_, i) => [`many/file with a rather long name number ${i}`, `${i}`]),
  ),
};
const links: Tree = {
  bin: { link: 'usr/bin' },
  'etc/absolute': { link: '/etc/os-release' },
  'etc/long': { link: `../${'usr/../'.repeat(20)}etc/os-release` },
  'etc/around': { link: 'around' },
  'etc/away': { link: '../../../../etc/os-release' },
  'etc/nowhere': { link: '/nowhere/at/all' },
};

async function opened(bytes: Uint8Array) {
  const budget = new Budget(usualLimits);
  const findings = new Findings();
  const found = await recogniseFileSystem(memorySource(bytes), budget, 'here', findings);
  assert.ok(found?.open, 'a file system that is read');
  return { found, findings, files: new GuestFiles(new Map([['/', await found.open()]])) };
}

async function requireTree(files: GuestFiles): Promise<void> {
  for (const [path, content] of Object.entries(tree)) {
    if (path.endsWith('/')) continue;
    const bytes = await files.head(`/${path}`, 4 * MIB);
    assert.deepEqual(Buffer.from(bytes ?? []), Buffer.from(content as string | Uint8Array), path);
  }
  assert.equal((await files.names('/many')).length, 400);
  assert.deepEqual(await files.names('/etc/os-release'), []);
  assert.equal(await files.has('/etc/none'), false);
  assert.deepEqual(await files.head('/etc/large', 1000), large.subarray(0, 1000));
}

async function requireLinks(files: GuestFiles): Promise<void> {
  assert.equal(await files.text('/bin/sh'), 'a shell');
  for (const name of ['absolute', 'long', 'away'])
    assert.equal(await files.text(`/etc/${name}`), 'ID=debian\n', name);
  assert.equal(await files.text('/etc/nowhere'), undefined);
  assert.equal(await files.realPath('/bin/sh'), '/usr/bin/sh');
  await assert.rejects(files.text('/etc/around'), /more than 40 symlinks/);
}

const extVariants: readonly (readonly [kind: string, args: readonly string[]])[] = [
  ['ext4', ['-t', 'ext4']],
  ['ext4', ['-t', 'ext4', '-b', '1024', '-O', '^64bit,^metadata_csum']],
  ['ext4', ['-t', 'ext4', '-O', 'inline_data', '-I', '256']],
  ['ext4', ['-t', 'ext4', '-b', '1024', '-O', 'meta_bg,^resize_inode']],
  ['ext4', ['-t', 'ext4', '-O', 'bigalloc,sparse_super2']],
  ['ext3', ['-t', 'ext3']],
  ['ext2', ['-t', 'ext2', '-b', '1024']],
  [
    'ext2',
    ['-t', 'ext2', '-b', '4096', '-O', '^sparse_super,^resize_inode,^filetype,^dir_index', '-I', '128'],
  ],
];

for (const [kind, args] of extVariants) {
  test(`files and links of mke2fs ${args.join(' ')} are read`, async (t) => {
    const folder = await temporaryFolder(t);
    const bytes = await makeExt(folder, { ...tree, ...links }, [
      ...args,
      '-L',
      'a label',
      '-U',
      '6b1f5b5c-2f0e-4b6c-9d0d-0123456789ab',
    ]);
    const { found, files, findings } = await opened(bytes);
    assert.deepEqual(
      [found.kind, found.label, found.uuid],
      [kind, 'a label', '6b1f5b5c-2f0e-4b6c-9d0d-0123456789ab'],
    );
    await requireTree(files);
    await requireLinks(files);
    assert.deepEqual(findings.list, []);
  });
}

test('holes of sparse files, hashed directories and a journal that needs recovery are met as debugfs made them', async (t) => {
  const folder = await temporaryFolder(t);
  const bytes = await makeExt(folder, {
    ...tree,
    'etc/holes': new Uint8Array([...new Uint8Array(200_000), 1, 2, 3]),
  });
  const { files } = await opened(bytes);
  assert.equal((await files.head('/etc/holes', MIB))?.length, 200_003);
  const { writeFile, readFile } = await import('node:fs/promises');
  const image = `${folder}/dirty.img`;
  await writeFile(image, bytes);
  await peer('debugfs', ['-w', '-R', 'feature needs_recovery', image]);
  const dirty = await opened(new Uint8Array(await readFile(image)));
  assert.deepEqual(
    dirty.findings.list.map(({ code }) => code),
    ['JOURNAL_NOT_REPLAYED'],
  );
  await peer('e2fsck', ['-f', '-y', '-D', image]).catch(() => '');
  const hashed = await opened(new Uint8Array(await readFile(image)));
  await requireTree(hashed.files);
});

const fatVariants: readonly (readonly [kind: string, args: readonly string[], sizeBytes: number])[] = [
  ['fat12', ['-F', '12', '-s', '8'], 8 * MIB],
  ['fat16', ['-F', '16'], 16 * MIB],
  ['fat32', ['-F', '32'], 40 * MIB],
  ['fat32', ['-F', '32', '-S', '4096'], 300 * MIB],
];

for (const [kind, args, sizeBytes] of fatVariants) {
  test(`files of mkfs.fat ${args.join(' ')} are read in either case`, async (t) => {
    const folder = await temporaryFolder(t);
    const bytes = await makeFat(folder, tree, [...args, '-n', 'LABEL', '-i', '12ab34cd'], sizeBytes);
    const { found, files } = await opened(bytes);
    assert.deepEqual([found.kind, found.label, found.uuid], [kind, 'LABEL', '12AB-34CD']);
    await requireTree(files);
    assert.equal(await files.text('/ETC/OS-Release'), 'ID=debian\n');
  });
}

test('what is not read is told by its name', async (t: TestContext) => {
  const folder = await temporaryFolder(t);
  const { writeFile, readFile, truncate } = await import('node:fs/promises');
  const made = async (program: string, args: readonly string[], sizeBytes = 16 * MIB) => {
    const image = `${folder}/${program}.img`;
    await writeFile(image, '');
    await truncate(image, sizeBytes);
    await peer(program, [...args, image]);
    const bytes = new Uint8Array(await readFile(image));
    return recogniseFileSystem(memorySource(bytes), new Budget(usualLimits), 'here', new Findings());
  };
  const swap = await made('mkswap', ['-q', '-L', 'swapped', '-U', '6b1f5b5c-2f0e-4b6c-9d0d-0123456789ab']);
  assert.deepEqual(swap, { kind: 'swap', uuid: '6b1f5b5c-2f0e-4b6c-9d0d-0123456789ab', label: 'swapped' });
});
