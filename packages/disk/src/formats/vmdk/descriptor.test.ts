import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDescriptor } from './descriptor.ts';
import { embeddedDescriptor } from './new-descriptor.ts';

const bytes = (text: string) => Buffer.from(text, 'utf8');

test('keys are found in any case, values lose their quotes, comments and what follows a NUL are left out', () => {
  const text =
    '# Disk DescriptorFile\r\n VERSION = 1\r\n#CID=1\r\nCID=0abc\r\nempty=""\nddb.adapterType = "ide"\n\0x=1\n';
  const descriptor = parseDescriptor(bytes(text));
  assert.equal(descriptor.value('version'), '1');
  assert.equal(descriptor.value('cid'), '0abc');
  assert.equal(descriptor.value('Empty'), '');
  assert.equal(descriptor.value('ddb.adaptertype'), 'ide');
  assert.equal(descriptor.value('x'), undefined);
});

test('extent lines of every kind are parsed', () => {
  const text = [
    'RW 4192256 SPARSE "a b-s001.vmdk"',
    'RW 63 FLAT "pt.vmdk" 0',
    'RDONLY 100 FLAT "/dev/sda" 63 partitionUUID dev0',
    'rw 10 vmfs "x-flat.vmdk"',
    'NOACCESS 5 ZERO ',
  ].join('\n');
  const [RW, none] = ['RW', undefined];
  assert.deepEqual(
    parseDescriptor(bytes(text)).extents.map((extent) => Object.values(extent)),
    [
      [RW, 4192256, 'SPARSE', 'a b-s001.vmdk', 0],
      [RW, 63, 'FLAT', 'pt.vmdk', 0],
      ['RDONLY', 100, 'FLAT', '/dev/sda', 63],
      [RW, 10, 'VMFS', 'x-flat.vmdk', 0],
      ['NOACCESS', 5, 'ZERO', none, 0],
    ],
  );
});

test('file names are in the encoding that the descriptor declares', () => {
  const name = (encoding: string, ...code: number[]) => {
    const text = Buffer.concat([
      bytes(`encoding="${encoding}"\nRW 1 SPARSE "`),
      Uint8Array.from(code),
      bytes('"\n'),
    ]);
    return parseDescriptor(text).extents[0]!.fileName;
  };
  assert.equal(name('UTF-8', 0xe7, 0xa3, 0x81), '磁');
  assert.equal(name('GBK', 0xb4, 0xc5), '磁');
  assert.equal(name('windows-1252', 0xe9), 'é');
  assert.equal(name('no-such-encoding', 0xc3, 0xa9), 'é');
});

test('a long line of blanks is parsed at once', () => {
  const blanks = ' '.repeat(1_000_000);
  assert.deepEqual(
    parseDescriptor(bytes(`a${blanks}b\nRW 1 ZERO${blanks}\nx =${blanks}y`)).extents.length,
    1,
  );
  assert.throws(() => parseDescriptor(bytes(`RW 1 FLAT "a" ${blanks}x`)), { code: 'IMAGE_MALFORMED' });
});

test('a new descriptor has the geometry that VMware gives a disk of its size', () => {
  const gib = 2 ** 21;
  const geometry = (adapterType: 'lsilogic' | 'ide', capacitySectors: number) => {
    const seed = new Uint8Array(32);
    const descriptor = parseDescriptor(
      embeddedDescriptor({
        subformat: 'monolithicSparse',
        adapterType,
        hardwareVersion: 4,
        capacitySectors,
        seed,
      }),
    );
    return ['cylinders', 'heads', 'sectors'].map((key) => Number(descriptor.value(`ddb.geometry.${key}`)));
  };
  assert.deepEqual(geometry('lsilogic', 1), [1, 64, 32]);
  assert.deepEqual(geometry('lsilogic', gib), [1024, 64, 32]);
  assert.deepEqual(geometry('lsilogic', 2 * gib), [1024, 128, 32]);
  assert.deepEqual(geometry('lsilogic', 8 * gib), [1044, 255, 63]);
  assert.deepEqual(geometry('lsilogic', 60 * 1024 * gib), [65535, 255, 63]);
  assert.deepEqual(geometry('ide', 60 * 1024 * gib), [16383, 16, 63]);
});
