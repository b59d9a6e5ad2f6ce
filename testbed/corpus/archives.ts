import {
  type Expected,
  type Family,
  type HostileCase,
  LIMIT,
  MALFORMED,
  readsAs,
  refusedOrReads,
  refusedWith,
  TRUNCATED,
  UNSUPPORTED,
} from './case.ts';
import { bytesAt, noise, text, u8 } from './fields.ts';
import { bent, type CorpusImage, imageOf, imageOfBytes, joined, type Patch, resized } from './image.ts';
import { qcow2Image } from './qcow2-image.ts';
import { paxRecord, type TarMember, tarHeader, tarImage } from './tar-image.ts';
import { streamImage } from './vmdk-image.ts';

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

function oci(...members: readonly TarMember[]): CorpusImage {
  return tarImage(members.length > 0 ? members : [metadata(), disk]);
}

/** Bytes where the size of the first member's header stands, with the sum made right again. */
function sized(...bytes: readonly number[]): Patch {
  return bytesAt(124, Uint8Array.from(bytes));
}

function* tarCases(): Generator<HostileCase> {
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
  const good = oci();
  yield one('good, declared', good, same);
  yield { name: 'oci: good, by its marks', image: good, expected: same };
  yield one('the disk before the document', oci(disk, metadata()), same);
  yield one('no document', oci(disk), { ...same, warning: 'image_metadata.json' }, { forward: same });
  yield one('no disk', oci(metadata()), MALFORMED);
  yield one('two disks', oci(disk, { ...disk, name: 'other.qcow2' }), refusedWith('IMAGE_OPTION'), {
    forward: same,
  });
  yield one('two disks, one chosen', oci(disk, { ...disk, name: 'other.qcow2' }), same, {
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
    oci({ ...metadata(), ...more, patches }, disk);
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
    ['a member twice, the second behind the disk', oci(disk, metadata(), disk), MALFORMED],
    ['a document twice', oci(metadata(), metadata(), disk), MALFORMED],
    [
      'the disk is a symbolic link',
      oci(metadata(), { ...disk, type: '2', content: new Uint8Array(0), linkName: '/etc/passwd' }),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED'),
    ],
    [
      'the disk is a hard link',
      oci(metadata(), { ...disk, type: '1', content: new Uint8Array(0), linkName: 'image_metadata.json' }),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED'),
    ],
    [
      'the disk is a device',
      oci(metadata(), { ...disk, type: '4', content: new Uint8Array(0) }),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED'),
    ],
    [
      'a link that has a size',
      oci(metadata(), { name: 'l', type: '2', content: noise(600), linkName: 'x' }, disk),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED'),
    ],
    ['the disk is a sparse file of GNU tar', oci(metadata(), { ...disk, type: 'S' }), UNSUPPORTED],
    [
      'the disk has a multi-volume type',
      oci(metadata(), { ...disk, type: 'M' }),
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    [
      'the disk has an unknown type',
      oci(metadata(), { ...disk, type: 'Q' }),
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    ['an absolute name', oci(metadata(), { ...disk, name: '/etc/disk.qcow2' }), MALFORMED],
    ['a name upwards', oci(metadata(), { ...disk, name: '../../disk.qcow2' }), MALFORMED],
    ['a name upwards in its middle', oci(metadata(), { ...disk, name: 'a/../../disk.qcow2' }), MALFORMED],
    ['a name of Windows', oci(metadata(), { ...disk, name: 'C:\\disk.qcow2' }), MALFORMED],
    ['a name with a line end', oci(metadata(), { ...disk, name: 'disk\n.qcow2' }), MALFORMED],
    ['no name', oci(metadata(), { ...disk, name: '' }), MALFORMED],
    ['an archive inside the archive', oci(metadata(), { name: 'inner.oci', content: good }), MALFORMED],
    [
      'an inner qcow2 that names a backing file',
      oci(metadata(), { ...disk, content: qcow2Image({ backing: { name: '/etc/passwd' } }).image }),
      refusedWith('IMAGE_REFERENCE'),
    ],
    [
      'an inner qcow2 that is cut',
      oci(metadata(), { ...disk, content: resized(inner.image, inner.image.lengthBytes - 4096) }),
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
      // What stands behind the disk, an arriving archive shows too late.
      ...(name.includes('behind') && { forward: same }),
    });
}

type Row = readonly [string, CorpusImage, Expected];

function paxCases(): Row[] {
  const pax = (records: string | Uint8Array, ...members: readonly TarMember[]) =>
    oci(metadata(), { name: 'PaxHeaders/0', type: 'x', content: Buffer.from(records) }, ...members);
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
      oci(metadata(), {
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
      oci({ name: 'g', type: 'g', content: Buffer.from(paxRecord('size', '1')) }, metadata(), disk),
      MALFORMED,
    ],
    [
      'a global PAX header with a comment',
      oci({ name: 'g', type: 'g', content: Buffer.from(paxRecord('comment', 'x')) }, metadata(), disk),
      same,
    ],
    [
      'a long name of GNU tar of 8 GiB',
      oci(metadata(), {
        name: '././@LongLink',
        type: 'L',
        content: new Uint8Array(0),
        patches: [text(124, '77777777777\0')],
      }),
      LIMIT,
    ],
    [
      'a long name of GNU tar that leads upwards',
      oci(metadata(), { name: '././@LongLink', type: 'L', content: Buffer.from('../x\0') }, disk),
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
    ['a document that is no JSON', oci(metadata('{'), disk), MALFORMED],
    ['an empty document', oci(metadata(''), disk), MALFORMED],
    ['a document that is a list', oci(metadata('[]'), disk), MALFORMED],
    ['a document that is null', oci(metadata('null'), disk), MALFORMED],
    ['a document that nests 100000 deep', oci(metadata(deep), disk), LIMIT],
    ['a document above 1 MiB', oci(metadata(`"${'x'.repeat(2 ** 20)}"`), disk), LIMIT],
    ['a document of version 3', oci(metadata({ ...METADATA, version: 3 }), disk), warned],
    [
      'a document with the key __proto__',
      oci(metadata('{"version":2,"externalLaunchOptions":{},"__proto__":{"operatingSystem":"x"}}'), disk),
      same,
    ],
    [
      'a document whose firmware is an object',
      oci(metadata({ ...METADATA, externalLaunchOptions: { firmware: {} } }), disk),
      warned,
    ],
    [
      'a document whose firmware has 300 letters',
      oci(metadata({ ...METADATA, externalLaunchOptions: { firmware: 'x'.repeat(300) } }), disk),
      warned,
    ],
    [
      'a document whose capabilities are no JSON',
      oci(metadata({ ...METADATA, imageCapabilityData: '{' }), disk),
      warned,
    ],
    [
      'a document whose capabilities nest deep',
      oci(metadata({ ...METADATA, imageCapabilityData: deep }), disk),
      LIMIT,
    ],
    [
      'a document that is not UTF-8',
      oci(
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

const appliance = streamImage();

interface OvfFields {
  readonly href?: string;
  readonly before?: string;
  readonly file?: string;
  readonly disk?: string;
  readonly capacity?: string;
  readonly units?: string;
  readonly format?: string;
  readonly more?: string;
}

function ovf({
  href = 'disk.vmdk',
  before = '',
  file = '',
  disk: diskAttributes = '',
  capacity = '65536',
  units,
  format = 'http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized',
  more = '',
}: OvfFields = {}): string {
  const unit = units === undefined ? '' : ` ovf:capacityAllocationUnits="${units}"`;
  return `<?xml version="1.0" encoding="UTF-8"?>
${before}<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <References><File ovf:id="file1" ovf:href="${href}"${file}/></References>
  <DiskSection><Info>Disks</Info>
    <Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="${capacity}"${unit} ovf:format="${format}"${diskAttributes}/>
  </DiskSection>
  <VirtualSystem ovf:id="vm"><Info>A machine</Info>${more}</VirtualSystem>
</Envelope>
`;
}

function ova(descriptor: string, ...members: readonly TarMember[]): CorpusImage {
  const vmdk: TarMember = { name: 'disk.vmdk', content: appliance.image };
  return tarImage([
    { name: 'vm.ovf', content: Buffer.from(descriptor) },
    ...(members.length > 0 ? members : [vmdk]),
  ]);
}

function* ovaCases(): Generator<HostileCase> {
  const same = readsAs(appliance.content);
  const warned = (warning: string): Expected => ({ ...same, warning });
  const vmdk: TarMember = { name: 'disk.vmdk', content: appliance.image };
  const entities = Array.from(
    { length: 10 },
    (_, index) => `<!ENTITY l${index + 1} "${`&l${index};`.repeat(10)}">`,
  ).join('');
  const list: readonly (readonly [string, CorpusImage, Expected, Partial<HostileCase>?])[] = [
    ['good', ova(ovf()), same],
    ['a DTD', ova(ovf({ before: '<!DOCTYPE x>\n' })), MALFORMED],
    [
      'an external entity',
      ova(
        ovf({ before: '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>\n', more: '<Name>&e;</Name>' }),
      ),
      MALFORMED,
    ],
    [
      'a billion laughs',
      ova(ovf({ before: `<!DOCTYPE x [<!ENTITY l0 "ha">${entities}]>\n`, more: '<Name>&l10;</Name>' })),
      MALFORMED,
    ],
    ['an entity that is not known', ova(ovf({ more: '<Name>&other;</Name>' })), MALFORMED],
    ['a character of number 0', ova(ovf({ more: '<Name>&#0;</Name>' })), MALFORMED],
    ['a character of number 2^31', ova(ovf({ more: '<Name>&#x7fffffff;</Name>' })), MALFORMED],
    ['a descriptor above 1 MiB', ova(ovf({ more: `<!--${' '.repeat(2 ** 20)}-->` })), LIMIT],
    ['elements 100000 deep', ova(ovf({ more: '<a>'.repeat(100_000) })), LIMIT],
    ['100000 elements', ova(ovf({ more: '<a/>'.repeat(100_000) })), LIMIT],
    [
      '10000 attributes',
      ova(ovf({ more: `<a ${Array.from({ length: 10_000 }, (_, index) => `a${index}="" `).join('')}/>` })),
      LIMIT,
    ],
    ['900 KiB of blanks in a tag', ova(ovf({ more: `<a ${' '.repeat(900_000)}x/>` })), MALFORMED],
    ['a million quotes that do not end', ova(ovf({ more: `<a b="${"'".repeat(900_000)}` })), MALFORMED],
    ['a comment that does not end', ova(ovf({ more: `<!--${'-'.repeat(900_000)}` })), MALFORMED],
    ['an instruction that does not end', ova(ovf({ more: `<?x${'?'.repeat(900_000)}` })), MALFORMED],
    ['900 KiB of ampersands', ova(ovf({ more: '&'.repeat(900_000) })), MALFORMED],
    ['elements that are not closed', ova(ovf().replace('</Envelope>', '')), MALFORMED],
    ['another root', ova('<x/>'), MALFORMED],
    ['an empty descriptor', ova(''), MALFORMED],
    ['an attribute twice', ova(ovf({ file: ' ovf:href="x"' })), MALFORMED],
    ['an href to /etc/passwd', ova(ovf({ href: '/etc/passwd' })), MALFORMED],
    ['an href upwards', ova(ovf({ href: '../disk.vmdk' })), MALFORMED],
    ['an href to an address', ova(ovf({ href: 'http://169.254.169.254/disk.vmdk' })), MALFORMED],
    ['an href that is not in the archive', ova(ovf({ href: 'other.vmdk' })), MALFORMED],
    ['an href that cannot be unescaped', ova(ovf({ href: '%ff%zz.vmdk' })), MALFORMED],
    ['an empty href', ova(ovf({ href: '' })), MALFORMED],
    ['a capacity of byte * 2^70', ova(ovf({ capacity: '1', units: 'byte * 2^70' })), LIMIT],
    ['a capacity of byte * 9999^99', ova(ovf({ capacity: '9', units: 'byte * 9999^99' })), LIMIT],
    ['a capacity in a unit that is not known', ova(ovf({ units: 'byte * 2^2^2' })), MALFORMED],
    ['a capacity of -1', ova(ovf({ capacity: '-1' })), MALFORMED],
    ['a capacity of 1e9', ova(ovf({ capacity: '1e9' })), MALFORMED],
    [
      'a capacity of 10^30',
      ova(ovf({ capacity: `1${'0'.repeat(30)}` })),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_LIMIT'),
    ],
    [
      "a capacity that is not the disk's",
      ova(ovf({ capacity: '1', units: 'byte * 2^30' })),
      warned('1073741824'),
    ],
    ['a size of the file that is not a number', ova(ovf({ file: ' ovf:size="x"' })), MALFORMED],
    [
      'a disk in a file that is not listed',
      ova(ovf().replace('fileRef="file1"', 'fileRef="file2"')),
      MALFORMED,
    ],
    ['a disk in chunks', ova(ovf({ file: ' ovf:chunkSize="1000"' })), UNSUPPORTED],
    [
      'a disk compressed with an unknown program',
      ova(ovf({ file: ' ovf:compression="brotli"' })),
      UNSUPPORTED,
    ],
    ['a disk that is the difference to another', ova(ovf({ disk: ' ovf:parentRef="disk0"' })), UNSUPPORTED],
    [
      'a format that the disk is not of',
      ova(ovf({ format: 'http://example.com/vdi' })),
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    [
      'a disk that is a tar archive',
      ova(ovf(), { name: 'disk.vmdk', content: tarImage([disk]) }),
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    [
      'a disk that is an OVA again',
      ova(ovf(), { name: 'disk.vmdk', content: ova(ovf()) }),
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    [
      'a disk that is a descriptor naming /etc/passwd',
      ova(ovf(), {
        name: 'disk.vmdk',
        content: Buffer.from(
          '# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 1 FLAT "/etc/passwd" 0\n',
        ),
      }),
      refusedWith('IMAGE_REFERENCE', 'IMAGE_UNSUPPORTED'),
    ],
    [
      'two descriptors',
      ova(ovf(), vmdk, { name: 'b.ovf', content: Buffer.from(ovf()) }),
      MALFORMED,
      { forward: same },
    ],
    ['no disk at all', ova(ovf().replace(/<Disk [^>]*>/, '')), MALFORMED],
    ['two disks sections', ova(ovf().replace('</DiskSection>', '</DiskSection><DiskSection/>')), MALFORMED],
    [
      'a manifest that is wrong',
      ova(ovf(), { name: 'vm.mf', content: Buffer.from('SHA256(disk.vmdk)= 00\n') }, vmdk),
      refusedOrReads(appliance.content, 'IMAGE_MALFORMED'),
    ],
    ['the disk cut in its archive', resized(ova(ovf(), vmdk), 8192), TRUNCATED],
    ['a disk twice', ova(ovf(), vmdk, vmdk), MALFORMED, { forward: same }],
    [
      'the descriptor is a link',
      tarImage([{ name: 'vm.ovf', type: '2', content: new Uint8Array(0), linkName: '/etc/passwd' }, vmdk]),
      MALFORMED,
    ],
    ['UTF-16', ova(Buffer.from(ovf(), 'utf16le').toString('latin1')), MALFORMED],
  ];
  for (const [name, image, expected, more] of list) {
    yield { name: `ova: ${name}`, format: 'ova', image, expected, ...more };
  }
  const bare = imageOf(1024, bytesAt(0, tarHeader({ name: 'a', lengthBytes: 0 })));
  yield { name: 'tar: an archive of no disk, by its mark', image: bare, expected: UNSUPPORTED };
  yield { name: 'ova: good, by its marks', image: ova(ovf()), expected: same };
}

function* cases(): Generator<HostileCase> {
  yield* tarCases();
  yield* ovaCases();
}

export const archives: Family = { name: 'archives', cases };
