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

export function ociImage(...members: readonly TarMember[]): CorpusImage {
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
  const good = ociImage();
  yield one('good, declared', good, same);
  yield { name: 'oci: good, by its marks', image: good, expected: same };
  yield one('the disk before the document', ociImage(disk, metadata()), same);
  yield one('no document', ociImage(disk), { ...same, warning: 'image_metadata.json' }, { forward: same });
  yield one('no disk', ociImage(metadata()), MALFORMED);
  yield one('two disks', ociImage(disk, { ...disk, name: 'other.qcow2' }), refusedWith('IMAGE_OPTION'), {
    forward: same,
  });
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
      // What stands behind the disk, an arriving archive shows too late.
      ...(name.includes('behind') && { forward: same }),
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
      'a document whose firmware is an object',
      ociImage(metadata({ ...METADATA, externalLaunchOptions: { firmware: {} } }), disk),
      warned,
    ],
    [
      'a document whose firmware has 300 letters',
      ociImage(metadata({ ...METADATA, externalLaunchOptions: { firmware: 'x'.repeat(300) } }), disk),
      warned,
    ],
    [
      'a document whose capabilities are no JSON',
      ociImage(metadata({ ...METADATA, imageCapabilityData: '{' }), disk),
      warned,
    ],
    [
      'a document whose capabilities nest deep',
      ociImage(metadata({ ...METADATA, imageCapabilityData: deep }), disk),
      LIMIT,
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

export function ovfText({
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

export function ovaImage(descriptor: string, ...members: readonly TarMember[]): CorpusImage {
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
    ['good', ovaImage(ovfText()), same],
    ['a DTD', ovaImage(ovfText({ before: '<!DOCTYPE x>\n' })), MALFORMED],
    [
      'an external entity',
      ovaImage(
        ovfText({
          before: '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>\n',
          more: '<Name>&e;</Name>',
        }),
      ),
      MALFORMED,
    ],
    [
      'a billion laughs',
      ovaImage(
        ovfText({ before: `<!DOCTYPE x [<!ENTITY l0 "ha">${entities}]>\n`, more: '<Name>&l10;</Name>' }),
      ),
      MALFORMED,
    ],
    ['an entity that is not known', ovaImage(ovfText({ more: '<Name>&other;</Name>' })), MALFORMED],
    ['a character of number 0', ovaImage(ovfText({ more: '<Name>&#0;</Name>' })), MALFORMED],
    ['a character of number 2^31', ovaImage(ovfText({ more: '<Name>&#x7fffffff;</Name>' })), MALFORMED],
    ['a descriptor above 1 MiB', ovaImage(ovfText({ more: `<!--${' '.repeat(2 ** 20)}-->` })), LIMIT],
    ['elements 100000 deep', ovaImage(ovfText({ more: '<a>'.repeat(100_000) })), LIMIT],
    ['100000 elements', ovaImage(ovfText({ more: '<a/>'.repeat(100_000) })), LIMIT],
    [
      '10000 attributes',
      ovaImage(
        ovfText({ more: `<a ${Array.from({ length: 10_000 }, (_, index) => `a${index}="" `).join('')}/>` }),
      ),
      LIMIT,
    ],
    ['900 KiB of blanks in a tag', ovaImage(ovfText({ more: `<a ${' '.repeat(900_000)}x/>` })), MALFORMED],
    [
      'a million quotes that do not end',
      ovaImage(ovfText({ more: `<a b="${"'".repeat(900_000)}` })),
      MALFORMED,
    ],
    ['a comment that does not end', ovaImage(ovfText({ more: `<!--${'-'.repeat(900_000)}` })), MALFORMED],
    ['an instruction that does not end', ovaImage(ovfText({ more: `<?x${'?'.repeat(900_000)}` })), MALFORMED],
    ['900 KiB of ampersands', ovaImage(ovfText({ more: '&'.repeat(900_000) })), MALFORMED],
    ['elements that are not closed', ovaImage(ovfText().replace('</Envelope>', '')), MALFORMED],
    ['another root', ovaImage('<x/>'), MALFORMED],
    ['an empty descriptor', ovaImage(''), MALFORMED],
    ['an attribute twice', ovaImage(ovfText({ file: ' ovf:href="x"' })), MALFORMED],
    ['an href to /etc/passwd', ovaImage(ovfText({ href: '/etc/passwd' })), MALFORMED],
    ['an href upwards', ovaImage(ovfText({ href: '../disk.vmdk' })), MALFORMED],
    ['an href to an address', ovaImage(ovfText({ href: 'http://169.254.169.254/disk.vmdk' })), MALFORMED],
    ['an href that is not in the archive', ovaImage(ovfText({ href: 'other.vmdk' })), MALFORMED],
    ['an href that cannot be unescaped', ovaImage(ovfText({ href: '%ff%zz.vmdk' })), MALFORMED],
    ['an empty href', ovaImage(ovfText({ href: '' })), MALFORMED],
    ['a capacity of byte * 2^70', ovaImage(ovfText({ capacity: '1', units: 'byte * 2^70' })), LIMIT],
    ['a capacity of byte * 9999^99', ovaImage(ovfText({ capacity: '9', units: 'byte * 9999^99' })), LIMIT],
    ['a capacity in a unit that is not known', ovaImage(ovfText({ units: 'byte * 2^2^2' })), MALFORMED],
    ['a capacity of -1', ovaImage(ovfText({ capacity: '-1' })), MALFORMED],
    ['a capacity of 1e9', ovaImage(ovfText({ capacity: '1e9' })), MALFORMED],
    [
      'a capacity of 10^30',
      ovaImage(ovfText({ capacity: `1${'0'.repeat(30)}` })),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_LIMIT'),
    ],
    [
      "a capacity that is not the disk's",
      ovaImage(ovfText({ capacity: '1', units: 'byte * 2^30' })),
      warned('1073741824'),
    ],
    ['a size of the file that is not a number', ovaImage(ovfText({ file: ' ovf:size="x"' })), MALFORMED],
    [
      'a disk in a file that is not listed',
      ovaImage(ovfText().replace('fileRef="file1"', 'fileRef="file2"')),
      MALFORMED,
    ],
    ['a disk in chunks', ovaImage(ovfText({ file: ' ovf:chunkSize="1000"' })), UNSUPPORTED],
    [
      'a disk compressed with an unknown program',
      ovaImage(ovfText({ file: ' ovf:compression="brotli"' })),
      UNSUPPORTED,
    ],
    [
      'a disk that is the difference to another',
      ovaImage(ovfText({ disk: ' ovf:parentRef="disk0"' })),
      UNSUPPORTED,
    ],
    [
      'a format that the disk is not of',
      ovaImage(ovfText({ format: 'http://example.com/vdi' })),
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    [
      'a disk that is a tar archive',
      ovaImage(ovfText(), { name: 'disk.vmdk', content: tarImage([disk]) }),
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    [
      'a disk that is an OVA again',
      ovaImage(ovfText(), { name: 'disk.vmdk', content: ovaImage(ovfText()) }),
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    [
      'a disk that is a descriptor naming /etc/passwd',
      ovaImage(ovfText(), {
        name: 'disk.vmdk',
        content: Buffer.from(
          '# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 1 FLAT "/etc/passwd" 0\n',
        ),
      }),
      refusedWith('IMAGE_REFERENCE', 'IMAGE_UNSUPPORTED'),
    ],
    [
      'two descriptors',
      ovaImage(ovfText(), vmdk, { name: 'b.ovf', content: Buffer.from(ovfText()) }),
      MALFORMED,
      { forward: same },
    ],
    ['no disk at all', ovaImage(ovfText().replace(/<Disk [^>]*>/, '')), MALFORMED],
    [
      'two disks sections',
      ovaImage(ovfText().replace('</DiskSection>', '</DiskSection><DiskSection/>')),
      MALFORMED,
    ],
    [
      'a manifest that is wrong',
      ovaImage(ovfText(), { name: 'vm.mf', content: Buffer.from('SHA256(disk.vmdk)= 00\n') }, vmdk),
      refusedOrReads(appliance.content, 'IMAGE_MALFORMED'),
    ],
    ['the disk cut in its archive', resized(ovaImage(ovfText(), vmdk), 8192), TRUNCATED],
    ['a disk twice', ovaImage(ovfText(), vmdk, vmdk), MALFORMED, { forward: same }],
    [
      'the descriptor is a link',
      tarImage([{ name: 'vm.ovf', type: '2', content: new Uint8Array(0), linkName: '/etc/passwd' }, vmdk]),
      MALFORMED,
    ],
    ['UTF-16', ovaImage(Buffer.from(ovfText(), 'utf16le').toString('latin1')), MALFORMED],
  ];
  for (const [name, image, expected, more] of list) {
    yield { name: `ova: ${name}`, format: 'ova', image, expected, ...more };
  }
  const bare = imageOf(1024, bytesAt(0, tarHeader({ name: 'a', lengthBytes: 0 })));
  yield { name: 'tar: an archive of no disk, by its mark', image: bare, expected: UNSUPPORTED };
  yield { name: 'ova: good, by its marks', image: ovaImage(ovfText()), expected: same };
}

function* cases(): Generator<HostileCase> {
  yield* tarCases();
  yield* ovaCases();
}

export const archives: Family = { name: 'archives', cases };
