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
import { bytesAt } from './fields.ts';
import { type CorpusImage, imageOf, resized } from './image.ts';
import { type TarMember, tarHeader, tarImage } from './tar-image.ts';
import { streamImage } from './vmdk-image.ts';

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

export function* ovaCases(): Generator<HostileCase> {
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
      ovaImage(ovfText(), {
        name: 'disk.vmdk',
        content: tarImage([{ name: 'a', content: new Uint8Array(512) }]),
      }),
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
