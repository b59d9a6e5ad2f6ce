import assert from 'node:assert/strict';
import { mkdir, readFile, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { testFolder, tool } from '../../formats/images.testkit.ts';
import { memorySource } from '../../io/memory.ts';
import { fileSource } from '../../io/node-file.ts';
import { tarMembers } from './reader.ts';
import { listTar, paxMember, paxRecord, rawMember } from './tar.testkit.ts';

for (const format of ['v7', 'oldgnu', 'gnu', 'ustar', 'posix']) {
  test(`archives of GNU tar's format ${format} are read as it lists them`, async (context) => {
    const folder = await testFolder(context);
    // 98 and 120 characters: the second needs a prefix, a long name or a PAX record.
    const names = ['a.txt', `${'n'.repeat(94)}.txt`];
    if (format !== 'v7') names.push(`${'f'.repeat(60)}/${'g'.repeat(60)}.txt`);
    if (format !== 'v7' && format !== 'ustar') names.push(`${'h'.repeat(150)}.txt`);
    await mkdir(join(folder, 'f'.repeat(60)));
    for (const name of names) await writeFile(join(folder, name), `this is ${name}`);
    await symlink('/etc/passwd', join(folder, 'link'));
    const archive = join(folder, 'x.tar');
    await tool(
      'tar',
      '-C',
      folder,
      `--format=${format}`,
      '-cf',
      archive,
      'link',
      ...names.map((name) => `./${name}`),
    );
    const members = await listTar(await readFile(archive));
    assert.deepEqual(members, [
      { name: 'link', kind: 'special', data: '' },
      ...names.map((name) => ({ name, kind: 'file', data: `this is ${name}` })),
    ]);
  });
}

for (const format of ['gnu', 'posix']) {
  test(`a member of 9 GiB in an archive of format ${format} is found, and what follows it`, async (context) => {
    const folder = await testFolder(context);
    // Headers as tar writes them, around a member that is a hole: no such data is made.
    const big = join(folder, 'big');
    await writeFile(big, '');
    await truncate(big, 9 * 2 ** 30);
    const headers = await tool(
      'sh',
      '-c',
      `tar -C ${folder} --format=${format} -cf - big | head -c 4096 | base64`,
    );
    const start = Buffer.from(headers, 'base64');
    const dataAt = start.lastIndexOf('ustar') - 257 + 512;
    const path = join(folder, 'x.tar');
    const end = dataAt + 9 * 2 ** 30;
    await writeFile(path, start.subarray(0, dataAt));
    await truncate(path, end);
    await writeFile(path, Buffer.concat([rawMember('last', 'here'), Buffer.alloc(1024)]), { flag: 'a' });
    const source = await fileSource(path);
    context.after(() => source.close());
    const found = [];
    for await (const { name, lengthBytes } of tarMembers(source)) found.push([name, lengthBytes]);
    assert.deepEqual(found, [
      ['big', 9 * 2 ** 30],
      ['last', 4],
    ]);
  });
}

test('an archive without an end, or with garbage behind it, is read', async () => {
  const members = [{ name: 'a', kind: 'file', data: 'A' }];
  assert.deepEqual(await listTar(rawMember('a', 'A')), members);
  const end = Buffer.concat([rawMember('a', 'A'), Buffer.alloc(512), Buffer.from('garbage')]);
  assert.deepEqual(await listTar(end), members);
});

const sized = (value: string) => paxMember(paxRecord('size', value));

const hostile: Readonly<Record<string, { bytes: () => Buffer; code: string }>> = {
  'a wrong checksum': {
    bytes: () => {
      const member = rawMember('a', 'A');
      member[0] = 0x62;
      return member;
    },
    code: 'IMAGE_MALFORMED',
  },
  'a negative size in base 256': {
    bytes: () => rawMember('a', 'A', { 124: Buffer.alloc(12, 0xff) }),
    code: 'IMAGE_MALFORMED',
  },
  'a size above 2^53 in base 256': {
    bytes: () => rawMember('a', 'A', { 124: Buffer.from('800000007fffffffffffffff', 'hex') }),
    code: 'IMAGE_LIMIT',
  },
  'a size with a minus sign': {
    bytes: () => rawMember('a', 'A', { 124: '-0000000001\0' }),
    code: 'IMAGE_MALFORMED',
  },
  'a member that reaches beyond the end': {
    bytes: () => rawMember('a', 'A', { 124: '00000077777\0' }),
    code: 'IMAGE_TRUNCATED',
  },
  'an archive cut in a header': { bytes: () => rawMember('a').subarray(0, 300), code: 'IMAGE_TRUNCATED' },
  'two members of one name': {
    bytes: () => Buffer.concat([rawMember('a', 'A'), rawMember('./a', 'B')]),
    code: 'IMAGE_MALFORMED',
  },
  'two names that differ in composition alone': {
    bytes: () => Buffer.concat([rawMember('\u00e9', 'A'), rawMember('e\u0301', 'B')]),
    code: 'IMAGE_MALFORMED',
  },
  'an absolute name': { bytes: () => rawMember('/etc/passwd', 'A'), code: 'IMAGE_MALFORMED' },
  'a name of a drive': { bytes: () => rawMember('C:\\disk', 'A'), code: 'IMAGE_MALFORMED' },
  'a name that climbs': { bytes: () => rawMember('a/../../b', 'A'), code: 'IMAGE_MALFORMED' },
  'a name that climbs with backslashes': { bytes: () => rawMember('a\\..\\b', 'A'), code: 'IMAGE_MALFORMED' },
  'a name with a newline': { bytes: () => rawMember('a\nb', 'A'), code: 'IMAGE_MALFORMED' },
  'a member without a name': { bytes: () => rawMember('', 'A'), code: 'IMAGE_MALFORMED' },
  'a link with data': { bytes: () => rawMember('a', 'A', { 156: '2' }), code: 'IMAGE_MALFORMED' },
  'an old sparse member': { bytes: () => rawMember('a', 'A', { 156: 'S' }), code: 'IMAGE_UNSUPPORTED' },
  'an unknown kind of header': {
    bytes: () => rawMember('a', 'A', { 257: 'gustar\0' }),
    code: 'IMAGE_UNSUPPORTED',
  },
  'a PAX size that is not the size': {
    bytes: () => Buffer.concat([sized('600'), rawMember('a', 'A'), rawMember('b', 'B')]),
    code: 'IMAGE_MALFORMED',
  },
  'a negative PAX size': {
    bytes: () => Buffer.concat([sized('-1'), rawMember('a')]),
    code: 'IMAGE_MALFORMED',
  },
  'a PAX size above 2^53': {
    bytes: () => Buffer.concat([sized('99999999999999999999'), rawMember('a')]),
    code: 'IMAGE_LIMIT',
  },
  'a PAX record longer than its header': {
    bytes: () => Buffer.concat([paxMember('99 path=b\n'), rawMember('a')]),
    code: 'IMAGE_MALFORMED',
  },
  'a PAX record of no length': {
    bytes: () => Buffer.concat([paxMember('0 path=b\n'), rawMember('a')]),
    code: 'IMAGE_MALFORMED',
  },
  'a PAX name with a NUL': {
    bytes: () => Buffer.concat([paxMember(paxRecord('path', 'b\0c')), rawMember('a')]),
    code: 'IMAGE_MALFORMED',
  },
  'a PAX name that climbs': {
    bytes: () => Buffer.concat([paxMember(paxRecord('path', '../b')), rawMember('a')]),
    code: 'IMAGE_MALFORMED',
  },
  'PAX headers above 64 KiB': {
    bytes: () => Buffer.concat([paxMember(paxRecord('comment', 'c'.repeat(70_000))), rawMember('a')]),
    code: 'IMAGE_LIMIT',
  },
  'a long name above 4 KiB': {
    bytes: () => Buffer.concat([rawMember('././@LongLink', 'n'.repeat(5000), { 156: 'L' }), rawMember('a')]),
    code: 'IMAGE_LIMIT',
  },
  'a global PAX header with a size': {
    bytes: () => Buffer.concat([rawMember('g', paxRecord('size', '1'), { 156: 'g' }), rawMember('a', 'A')]),
    code: 'IMAGE_MALFORMED',
  },
  'an extended header without a member': { bytes: () => sized('5'), code: 'IMAGE_MALFORMED' },
  'more members than any appliance has': {
    bytes: () => Buffer.concat(Array.from({ length: 1100 }, (_, i) => rawMember(`m${i}`))),
    code: 'IMAGE_LIMIT',
  },
};

for (const [what, { bytes, code }] of Object.entries(hostile)) {
  test(`an archive with ${what} is refused`, async () => {
    await assert.rejects(listTar(bytes()), { name: 'ImageError', code });
  });
}

test('links, devices and sparse members are listed and cannot be opened', async () => {
  const sparse = Buffer.concat([paxMember(paxRecord('GNU.sparse.major', '1')), rawMember('s', 'map')]);
  const archive = Buffer.concat([rawMember('l', '', { 156: '2' }), rawMember('d', '', { 156: '3' }), sparse]);
  assert.deepEqual(
    (await listTar(archive)).map(({ name, kind }) => [name, kind]),
    [
      ['l', 'special'],
      ['d', 'special'],
      ['s', 'special'],
    ],
  );

  for await (const member of tarMembers(memorySource(archive))) {
    assert.throws(() => member.open(), { code: 'IMAGE_UNSUPPORTED' });
  }
});
