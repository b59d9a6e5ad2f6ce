import assert from 'node:assert/strict';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { memorySource } from '@gantry/disk';
import { Budget } from '../budget.ts';
import { Findings } from '../findings.ts';
import { MIB, makeExt, makeFat, makeXfs, peer, type Tree, temporaryFolder } from '../images.testkit.ts';
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

const xfsVariants: readonly (readonly string[])[] = [
  [],
  ['-m', 'crc=0'],
  ['-m', 'crc=0', '-n', 'ftype=0'],
  ['-b', 'size=1024', '-n', 'size=8192'],
  ['-i', 'size=1024,nrext64=0'],
];

for (const args of xfsVariants) {
  test(`files and links of mkfs.xfs ${args.join(' ')} are read`, async (t) => {
    const folder = await temporaryFolder(t);
    // A prototype has no names with spaces.
    const named = Object.entries(tree).map(
      ([path, content]) => [path.replaceAll(' ', '_'), content] as const,
    );
    const farLink = `/${'usr/../'.repeat(120)}etc/os-release`;
    const all: Tree = { ...Object.fromEntries(named), ...links, 'etc/far': { link: farLink } };
    const { found, files, findings } = await opened(await makeXfs(folder, all, ['-L', 'label', ...args]));
    assert.deepEqual([found.kind, found.label], ['xfs', 'label']);
    for (const [path, content] of named) {
      if (path.endsWith('/')) continue;
      const bytes = await files.head(`/${path}`, 4 * MIB);
      assert.deepEqual(Buffer.from(bytes ?? []), Buffer.from(content as string | Uint8Array), path);
    }
    assert.equal((await files.names('/many')).length, 400);
    await requireLinks(files);
    assert.equal(await files.text('/etc/far'), 'ID=debian\n');
    assert.deepEqual(findings.list, []);
  });
}

test('a file of XFS whose extents stand in a tree is read, as xfs_db reads it', async (t) => {
  const folder = await temporaryFolder(t);
  const content = Uint8Array.from({ length: 64 * 4096 }, (_, i) => Math.floor(i / 4096) + 1);
  const bytes = await makeXfs(folder, { file: content }, ['-m', 'crc=0']);
  const image = `${folder}/tree.img`;
  await writeFile(image, bytes);
  const db = (...commands: string[]) =>
    peer('xfs_db', ['-r', ...commands.flatMap((command) => ['-c', command]), image]);
  const [, inode = ''] = /byte offset (\d+)/.exec(await db('path /file', 'addr')) ?? [];
  const [, first = ''] = /startblock (\d+) /.exec(await db('path /file', 'bmap')) ?? [];
  assert.ok(Number(inode) > 0 && Number(first) > 0);

  // mkfs.xfs gives a file one extent. Here it is cut into sixteen, which change places, in a leaf below the inode's root:
  // xfs_bmdr_block and xfs_bmbt_block as "XFS Algorithms & Data Structures" has them.
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const start = Number(first);
  const leaf = start + 200;
  view.setUint8(Number(inode) + 5, 3);
  view.setUint16(Number(inode) + 100, 1);
  view.setUint16(Number(inode) + 102, 1);
  const rootRecords = Math.floor((256 - 100 - 4) / 16);
  view.setBigUint64(Number(inode) + 104, 0n);
  view.setBigUint64(Number(inode) + 104 + rootRecords * 8, BigInt(leaf));
  view.setUint32(leaf * 4096, 0x424d4150);
  view.setUint16(leaf * 4096 + 4, 0);
  view.setUint16(leaf * 4096 + 6, 16);
  view.setBigUint64(leaf * 4096 + 8, 2n ** 64n - 1n);
  view.setBigUint64(leaf * 4096 + 16, 2n ** 64n - 1n);
  const order = Array.from({ length: 16 }, (_, index) => (index * 5 + 3) % 16);
  for (const [index, part] of order.entries()) {
    const block = BigInt(start + part * 4);
    view.setBigUint64(leaf * 4096 + 24 + index * 16, (BigInt(index * 4) << 9n) + (block >> 43n));
    view.setBigUint64(leaf * 4096 + 32 + index * 16, BigInt.asUintN(64, block << 21n) + 4n);
  }
  view.setUint32(Number(inode) + 76, 16);
  view.setBigUint64(Number(inode) + 64, 65n);
  await writeFile(image, bytes);
  const told = [...(await db('path /file', 'bmap')).matchAll(/offset (\d+) startblock (\d+) /g)];
  assert.deepEqual(
    told.map(([, offset, block]) => [Number(offset), Number(block)]),
    order.map((part, index) => [index * 4, start + part * 4]),
  );
  const { files } = await opened(bytes);
  const expected = order.flatMap((part) => [...content.subarray(part * 16384, (part + 1) * 16384)]);
  assert.deepEqual(await files.head('/file', MIB), Uint8Array.from(expected));
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
