import {
  type Expected,
  type HostileCase,
  LIMIT,
  MALFORMED,
  readsAs,
  refusedOrReads,
  refusedWith,
  TRUNCATED,
  UNSUPPORTED,
} from './case.ts';
import { be64, bytesAt, noise, text, u8 } from './fields.ts';
import { bent, type CorpusImage, imageOfBytes, joined, type Patch, resized } from './image.ts';
import { qcow2Image } from './qcow2-image.ts';
import { paxRecord, type TarMember, tarImage } from './tar-image.ts';

const METADATA = {
  version: 2,
  externalLaunchOptions: { firmware: 'UEFI_64', networkType: 'PARAVIRTUALIZED' },
  operatingSystem: 'Linux',
};

const inner = qcow2Image();

const disk: TarMember = { name: 'disk.qcow2', content: inner.image };

function metadata(document: unknown = METADATA): TarMember {
  const bytes = typeof document === 'string' ? document : JSON.stringify(document);
  return { name: 'image_metadata.json', content: Buffer.from(bytes) };
}

export function ociImage(...members: readonly TarMember[]): CorpusImage {
  return tarImage(members.length > 0 ? members : [metadata(), disk]);
}

/** Bytes where the size of the first member's header stands, with the sum made right again. */
function sized(...bytes: readonly number[]): Patch {
  return bytesAt(124, Uint8Array.from(bytes));
}

export function* ociCases(): Generator<HostileCase> {
  const same = readsAs(inner.content);
  const one = (
    name: string,
    image: CorpusImage,
    expected: Expected,
    more: Partial<HostileCase> = {},
  ): HostileCase => ({
    name: `oci: ${name}`,
    format: 'oci',
    image,
    expected,
    ...more,
  });
  const good = ociImage();
  yield one('good, declared', good, same);
  yield { name: 'oci: good, by its marks', image: good, expected: same };
  yield one('the disk before the document', ociImage(disk, metadata()), same);
  yield one('no document', ociImage(disk), { ...same, warning: 'image_metadata.json' });
  yield one('no disk', ociImage(metadata()), MALFORMED);
  yield one('two disks', ociImage(disk, { ...disk, name: 'other.qcow2' }), refusedWith('IMAGE_OPTION'));
  yield one('two disks, one chosen', ociImage(disk, { ...disk, name: 'other.qcow2' }), same, {
    member: 'other.qcow2',
  });
  yield one('a disk that is not there is chosen', good, refusedWith('IMAGE_OPTION'), {
    member: '/etc/passwd',
  });
  const withoutEnd = tarImage([metadata(), disk], 0);
  yield one('no blocks of zeros at the end', withoutEnd, same);
  yield one('garbage behind the end', joined(good, imageOfBytes(noise(3000))), same);
  const structures = [0, 512, 1024, 1536] as const;
  for (const at of structures) {
    for (const lengthBytes of [at, at + 1, at + 511]) {
      yield one(
        `cut to ${lengthBytes} bytes`,
        resized(withoutEnd, lengthBytes),
        refusedWith('IMAGE_TRUNCATED', 'IMAGE_MALFORMED'),
      );
    }
  }
  yield one('cut inside the disk', resized(withoutEnd, withoutEnd.lengthBytes - 600), TRUNCATED);
  const first = (patches: readonly Patch[], more: Partial<TarMember> = {}) =>
    ociImage({ ...metadata(), ...more, patches }, disk);
  const list: readonly (readonly [string, CorpusImage, Expected])[] = [
    ['a header with a wrong sum', bent(good, u8(5, 99)), MALFORMED],
    ['a sum that is not octal', bent(good, text(148, '99999999')), MALFORMED],
    ['a size that is not octal', first([text(124, '0000000000x\0')]), MALFORMED],
    ['a size of 8 GiB - 1', first([text(124, '77777777777\0')]), TRUNCATED],
    [
      'a negative size in base 256',
      first([sized(0xff, ...Array.from({ length: 11 }, () => 0xff))]),
      MALFORMED,
    ],
    [
      'a size of -512 in base 256',
      first([sized(0xff, ...Array.from({ length: 9 }, () => 0xff), 0xfe, 0)]),
      MALFORMED,
    ],
    ['a size of 2^63 in base 256', first([sized(0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0)]), LIMIT],
    ['a size of 2^94 in base 256', first([sized(0x80, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]), LIMIT],
    ['a size of 2^52 in base 256', first([sized(0x80, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0)]), TRUNCATED],
    [
      'a size of 2^53 - 1 in base 256',
      first([sized(0x80, 0, 0, 0, 0, 0x1f, 255, 255, 255, 255, 255, 255)]),
      refusedWith('IMAGE_TRUNCATED', 'IMAGE_LIMIT'),
    ],
    [
      'neither POSIX nor GNU',
      first([text(257, 'ustar\x0099')]),
      refusedOrReads(inner.content, 'IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    ['a member twice, the second behind the disk', ociImage(disk, metadata(), disk), MALFORMED],
    ['a document twice', ociImage(metadata(), metadata(), disk), MALFORMED],
    [
      'the disk is a symbolic link',
      ociImage(metadata(), { ...disk, type: '2', content: new Uint8Array(0), linkName: '/etc/passwd' }),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED'),
    ],
    [
      'the disk is a hard link',
      ociImage(metadata(), {
        ...disk,
        type: '1',
        content: new Uint8Array(0),
        linkName: 'image_metadata.json',
      }),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED'),
    ],
    [
      'the disk is a device',
      ociImage(metadata(), { ...disk, type: '4', content: new Uint8Array(0) }),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED'),
    ],
    [
      'a link that has a size',
      ociImage(metadata(), { name: 'l', type: '2', content: noise(600), linkName: 'x' }, disk),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED'),
    ],
    ['the disk is a sparse file of GNU tar', ociImage(metadata(), { ...disk, type: 'S' }), UNSUPPORTED],
    [
      'the disk has a multi-volume type',
      ociImage(metadata(), { ...disk, type: 'M' }),
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    [
      'the disk has an unknown type',
      ociImage(metadata(), { ...disk, type: 'Q' }),
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    ['an absolute name', ociImage(metadata(), { ...disk, name: '/etc/disk.qcow2' }), MALFORMED],
    ['a name upwards', ociImage(metadata(), { ...disk, name: '../../disk.qcow2' }), MALFORMED],
    [
      'a name upwards in its middle',
      ociImage(metadata(), { ...disk, name: 'a/../../disk.qcow2' }),
      MALFORMED,
    ],
    ['a name of Windows', ociImage(metadata(), { ...disk, name: 'C:\\disk.qcow2' }), MALFORMED],
    ['a name with a line end', ociImage(metadata(), { ...disk, name: 'disk\n.qcow2' }), MALFORMED],
    ['no name', ociImage(metadata(), { ...disk, name: '' }), MALFORMED],
    ['an archive inside the archive', ociImage(metadata(), { name: 'inner.oci', content: good }), MALFORMED],
    [
      'an inner qcow2 that names a backing file',
      ociImage(metadata(), { ...disk, content: qcow2Image({ backing: { name: '/etc/passwd' } }).image }),
      refusedWith('IMAGE_REFERENCE'),
    ],
    [
      'an inner qcow2 that names an external data file',
      ociImage(metadata(), { ...disk, content: bent(qcow2Image().image, be64(72, 4)) }),
      refusedWith('IMAGE_REFERENCE'),
    ],
    [
      'an inner qcow2 that is cut',
      ociImage(metadata(), { ...disk, content: resized(inner.image, inner.image.lengthBytes - 4096) }),
      TRUNCATED,
    ],
    [
      '1025 empty members',
      tarImage([
        metadata(),
        ...Array.from({ length: 1025 }, (_, index) => ({ name: `f${index}`, content: new Uint8Array(0) })),
        disk,
      ]),
      LIMIT,
    ],
    ...paxCases(),
    ...documentCases(),
  ];
  for (const [name, image, expected] of list)
    yield one(name, image, expected, {
      onlyWhole: name.includes('that is cut'),
    });
}

type Row = readonly [string, CorpusImage, Expected];

function paxCases(): Row[] {
  const pax = (records: string | Uint8Array, ...members: readonly TarMember[]) =>
    ociImage(metadata(), { name: 'PaxHeaders/0', type: 'x', content: Buffer.from(records) }, ...members);
  const same = readsAs(inner.content);
  const length = inner.image.lengthBytes;
  return [
    ['a PAX record with the name', pax(paxRecord('path', 'named.qcow2'), disk), same],
    ['a PAX record with the size that the header has', pax(paxRecord('size', String(length)), disk), same],
    ['a PAX record with a smaller size', pax(paxRecord('size', String(length - 512)), disk), MALFORMED],
    ['a PAX record with a larger size', pax(paxRecord('size', String(length + 512)), disk), MALFORMED],
    ['a PAX record with a size of -1', pax(paxRecord('size', '-1'), disk), MALFORMED],
    [
      'a PAX record with a size of 10^30',
      pax(paxRecord('size', `1${'0'.repeat(30)}`), disk),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_LIMIT'),
    ],
    [
      'a PAX record with a size of 2^63',
      pax(paxRecord('size', String(2n ** 63n)), disk),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_LIMIT'),
    ],
    ['a PAX record with a path upwards', pax(paxRecord('path', '../x.qcow2'), disk), MALFORMED],
    ['a PAX record with a NUL in the path', pax(paxRecord('path', 'x\0y'), disk), MALFORMED],
    [
      'a PAX record with an empty path',
      pax(paxRecord('path', ''), disk),
      refusedOrReads(inner.content, 'IMAGE_MALFORMED'),
    ],
    ['a PAX record shorter than it says', pax('99 path=x\n', disk), MALFORMED],
    ['a PAX record longer than it says', pax('6 path=x\n', disk), MALFORMED],
    ['a PAX record of length 0', pax('0 path=x\n', disk), MALFORMED],
    ['a PAX record of length 10^20', pax(`1${'0'.repeat(20)} path=x\n`, disk), MALFORMED],
    ['a PAX record without a key', pax('4 =\n', disk), refusedOrReads(inner.content, 'IMAGE_MALFORMED')],
    ['a PAX record without its line end', pax('8 path=xx', disk), MALFORMED],
    ['PAX records of 64 KiB and one', pax(Buffer.alloc(65537, '9'), disk), LIMIT],
    [
      'a PAX header of 8 GiB',
      ociImage(metadata(), {
        name: 'p',
        type: 'x',
        content: new Uint8Array(0),
        patches: [text(124, '77777777777\0')],
      }),
      LIMIT,
    ],
    [
      'a PAX sparse map',
      pax(paxRecord('GNU.sparse.major', '1'), disk),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED'),
    ],
    [
      'a PAX header behind the disk, with no member of its own',
      tarImage([metadata(), disk, { name: 'p', type: 'x', content: Buffer.from(paxRecord('path', 'x')) }], 0),
      MALFORMED,
    ],
    [
      'a global PAX header that gives a size',
      ociImage({ name: 'g', type: 'g', content: Buffer.from(paxRecord('size', '1')) }, metadata(), disk),
      MALFORMED,
    ],
    [
      'a global PAX header with a comment',
      ociImage({ name: 'g', type: 'g', content: Buffer.from(paxRecord('comment', 'x')) }, metadata(), disk),
      same,
    ],
    [
      'a long name of GNU tar of 8 GiB',
      ociImage(metadata(), {
        name: '././@LongLink',
        type: 'L',
        content: new Uint8Array(0),
        patches: [text(124, '77777777777\0')],
      }),
      LIMIT,
    ],
    [
      'a long name of GNU tar that leads upwards',
      ociImage(metadata(), { name: '././@LongLink', type: 'L', content: Buffer.from('../x\0') }, disk),
      MALFORMED,
    ],
    [
      '1025 PAX headers',
      tarImage([
        metadata(),
        ...Array.from({ length: 1025 }, () => ({
          name: 'p',
          type: 'x',
          content: Buffer.from(paxRecord('comment', 'x')),
        })),
        disk,
      ]),
      LIMIT,
    ],
  ];
}

function documentCases(): Row[] {
  const same = readsAs(inner.content);
  const warned: Expected = { ...same, warning: 'image_metadata.json' };
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  return [
    ['a document that is no JSON', ociImage(metadata('{'), disk), MALFORMED],
    ['an empty document', ociImage(metadata(''), disk), MALFORMED],
    ['a document that is a list', ociImage(metadata('[]'), disk), MALFORMED],
    ['a document that is null', ociImage(metadata('null'), disk), MALFORMED],
    ['a document that nests 100000 deep', ociImage(metadata(deep), disk), LIMIT],
    ['a document above 1 MiB', ociImage(metadata(`"${'x'.repeat(2 ** 20)}"`), disk), LIMIT],
    ['a document of version 3', ociImage(metadata({ ...METADATA, version: 3 }), disk), warned],
    [
      'a document with the key __proto__',
      ociImage(
        metadata('{"version":2,"externalLaunchOptions":{},"__proto__":{"operatingSystem":"x"}}'),
        disk,
      ),
      same,
    ],
    [
      'a document whose launch options are a text',
      ociImage(metadata({ ...METADATA, externalLaunchOptions: 'UEFI_64' }), disk),
      warned,
    ],
    [
      'a document whose firmware is an object',
      ociImage(metadata({ ...METADATA, externalLaunchOptions: { firmware: {} } }), disk),
      same,
    ],
    [
      'a document whose capabilities nest deep in their text',
      ociImage(metadata({ ...METADATA, imageCapabilityData: deep }), disk),
      same,
    ],
    [
      'a document that is not UTF-8',
      ociImage(
        {
          name: 'image_metadata.json',
          content: Buffer.concat([
            Buffer.from('{"version":2,"x":"'),
            Buffer.from([0xff, 0xfe]),
            Buffer.from('"}'),
          ]),
        },
        disk,
      ),
      refusedOrReads(inner.content, 'IMAGE_MALFORMED'),
    ],
  ];
}
