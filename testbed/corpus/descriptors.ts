import {
  type Expected,
  type Family,
  type HostileCase,
  LIMIT,
  MALFORMED,
  REFERENCE,
  readsAs,
  refusedOrReads,
  refusedWith,
  TRUNCATED,
} from './case.ts';
import { bytesAt, noise } from './fields.ts';
import { bent, type CorpusImage, imageOf, imageOfBytes, joined, resized } from './image.ts';
import { qcow2Image } from './qcow2-image.ts';
import { descriptorText, sparseImage } from './vmdk-image.ts';

const format = 'vmdk';

function descriptor(createType: string, extents: readonly string[], more = ''): CorpusImage {
  return imageOfBytes(Buffer.from(descriptorText(createType, extents, more), 'latin1'));
}

const flat = imageOf(65536, bytesAt(0, noise(4096)), bytesAt(61440, noise(4096, 2)));
const files = { 'flat.vmdk': { image: flat } };

/** Names that no program may follow: nothing is supplied for them. */
const NAMES = [
  '/etc/passwd',
  '../../../../etc/shadow',
  '..\\..\\secret.vmdk',
  'C:\\Windows\\System32\\config\\SAM',
  '\\\\server\\share\\disk.vmdk',
  '/dev/zero',
  '/dev/sda',
  '/proc/self/mem',
  'http://169.254.169.254/latest/meta-data/',
  'nbd://127.0.0.1',
  'json:{driver:file}',
  'file:///etc/passwd',
  '.',
  '..',
  'a/b.vmdk',
  'hostile',
  ' ',
  'x'.repeat(5000),
];

function* cases(): Generator<HostileCase> {
  const one = (
    name: string,
    image: CorpusImage,
    expected: Expected,
    more: Partial<HostileCase> = {},
  ): HostileCase => ({
    name: `descriptor: ${name}`,
    format,
    image,
    expected,
    ...more,
  });
  for (const name of NAMES) {
    for (const type of ['FLAT', 'SPARSE', 'VMFS'] as const) {
      const line = `RW 128 ${type} "${name}"${type === 'FLAT' ? ' 0' : ''}`;
      const createType = { FLAT: 'monolithicFlat', SPARSE: 'twoGbMaxExtentSparse', VMFS: 'vmfs' }[type];
      yield one(
        `a ${type} extent in ${JSON.stringify(name.slice(0, 60))}`,
        descriptor(createType, [line]),
        REFERENCE,
      );
    }
  }
  yield one(
    'a flat extent that is supplied',
    descriptor('monolithicFlat', ['RW 128 FLAT "flat.vmdk" 0']),
    readsAs(flat),
    { files },
  );
  yield {
    name: 'descriptor: good, by its mark',
    image: descriptor('monolithicFlat', ['RW 128 FLAT "flat.vmdk" 0']),
    files,
    expected: readsAs(flat),
  };
  const line = 'RW 128 FLAT "flat.vmdk" 0';
  const withExtents = (...extents: readonly string[]) => descriptor('twoGbMaxExtentFlat', extents);
  const list: readonly (readonly [string, CorpusImage, Expected])[] = [
    ['three lines that name one file', withExtents(line, line, line), readsAs(joined(flat, flat, flat))],
    ['an extent that is longer than its file', withExtents('RW 129 FLAT "flat.vmdk" 0'), TRUNCATED],
    ['an extent that begins behind its file', withExtents('RW 1 FLAT "flat.vmdk" 129'), TRUNCATED],
    [
      'an extent at an offset',
      withExtents('RW 8 FLAT "flat.vmdk" 120'),
      readsAs(imageOf(4096, bytesAt(0, noise(4096, 2)))),
    ],
    ['an extent at -1', withExtents('RW 8 FLAT "flat.vmdk" -1'), MALFORMED],
    [
      'an extent at 2^63',
      withExtents('RW 8 FLAT "flat.vmdk" 9223372036854775808'),
      refusedWith('IMAGE_LIMIT', 'IMAGE_TRUNCATED', 'IMAGE_MALFORMED'),
    ],
    [
      'an extent of 0 sectors',
      withExtents('RW 0 FLAT "flat.vmdk" 0'),
      refusedOrReads(imageOf(0), 'IMAGE_MALFORMED'),
    ],
    ['an extent of -8 sectors', withExtents('RW -8 FLAT "flat.vmdk" 0'), MALFORMED],
    ['an extent of 2^55 sectors', withExtents('RW 36028797018963968 FLAT "flat.vmdk" 0'), LIMIT],
    ['an extent of 2^64 - 1 sectors', withExtents('RW 18446744073709551615 FLAT "flat.vmdk" 0'), LIMIT],
    [
      'extents of 65 TiB together',
      withExtents(...Array.from({ length: 65 }, () => 'RW 2147483648 ZERO')),
      LIMIT,
    ],
    ['extents of zeros only', withExtents('RW 128 ZERO', 'RDONLY 128 ZERO'), readsAs(imageOf(131_072))],
    ['a read-only extent', withExtents('RDONLY 128 FLAT "flat.vmdk" 0'), readsAs(flat)],
    [
      'an extent that may not be read',
      withExtents('NOACCESS 128 FLAT "flat.vmdk" 0'),
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED', 'IMAGE_REFERENCE'),
    ],
    ['1101 extents', withExtents(...Array.from({ length: 1101 }, () => 'RW 1 ZERO')), LIMIT],
    ['no extent', withExtents(), refusedWith('IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED')],
    ['an extent without a name', withExtents('RW 1 FLAT'), MALFORMED],
    ['a name without its end', withExtents('RW 1 FLAT "flat.vmdk'), MALFORMED],
    [
      'an unknown type of extent',
      withExtents('RW 128 CLOUD "flat.vmdk" 0'),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED'),
    ],
    [
      'a raw device mapping',
      descriptor('vmfsRawDeviceMap', ['RW 128 VMFSRDM "flat.vmdk"']),
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_REFERENCE'),
    ],
    [
      'above 1 MiB',
      joined(
        withExtents(line),
        imageOf(2 ** 20, { offsetBytes: 0, bytes: Buffer.from('#'), count: 2 ** 20 }),
      ),
      LIMIT,
    ],
    [
      'a line of 1 MiB',
      joined(
        withExtents(line),
        imageOf(2 ** 20 - 1000, { offsetBytes: 0, bytes: Buffer.from('='), count: 2 ** 20 - 1000 }),
      ),
      refusedOrReads(flat, 'IMAGE_MALFORMED', 'IMAGE_LIMIT'),
    ],
    [
      '100000 keys',
      joined(
        withExtents(line),
        imageOfBytes(Buffer.from(Array.from({ length: 100_000 }, (_, index) => `${index}=`).join('\n'))),
      ),
      readsAs(flat),
    ],
    ['a parent', child('base.vmdk', '00000001'), REFERENCE],
    ['a parent at /etc/passwd', child('/etc/passwd', '00000001'), REFERENCE],
    ['a parent without a name', child('', '00000001'), refusedWith('IMAGE_REFERENCE', 'IMAGE_MALFORMED')],
    ['a parentCID that is none', child('base.vmdk', 'none'), MALFORMED],
  ];
  for (const [name, image, expected] of list) yield one(name, image, expected, { files });
  const sparse = sparseImage();
  const inSparse = descriptor('twoGbMaxExtentSparse', ['RW 128 SPARSE "s001.vmdk"']);
  const sparseFiles: readonly (readonly [string, HostileCase['files'], Expected])[] = [
    ['that is supplied', { 's001.vmdk': { image: sparse.image } }, readsAs(sparse.content)],
    [
      'that is cut',
      { 's001.vmdk': { image: resized(sparse.image, sparse.image.lengthBytes - 4096) } },
      TRUNCATED,
    ],
    [
      'that is empty',
      { 's001.vmdk': { image: imageOf(0) } },
      refusedWith('IMAGE_TRUNCATED', 'IMAGE_MALFORMED'),
    ],
    ['that is a qcow2', { 's001.vmdk': { image: qcow2Image().image } }, MALFORMED],
    [
      'that is the descriptor itself',
      { 's001.vmdk': { image: 'itself' } },
      refusedWith('IMAGE_REFERENCE', 'IMAGE_MALFORMED'),
    ],
    [
      'that is a descriptor that names another',
      { 's001.vmdk': { image: withExtents('RW 128 FLAT "/etc/passwd" 0') } },
      refusedWith('IMAGE_REFERENCE', 'IMAGE_MALFORMED'),
    ],
    [
      'of another size',
      { 's001.vmdk': { image: sparseImage({ sizeBytes: 32768, grains: new Map() }).image } },
      refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED'),
    ],
  ];
  for (const [name, supplied, expected] of sparseFiles) {
    yield one(`a sparse extent ${name}`, inSparse, expected, {
      ...(supplied !== undefined && { files: supplied }),
      onlyWhole: true,
    });
  }
  yield* parentCases(sparse.content);
}

/** A sparse file without data whose descriptor names a parent. */
function child(parent: string, parentCid: string): CorpusImage {
  const text = descriptorText(
    'monolithicSparse',
    ['RW 128 SPARSE "child.vmdk"'],
    `parentFileNameHint="${parent}"`,
  );
  return sparseImage({
    grains: new Map(),
    descriptor: text.replace('parentCID=ffffffff', `parentCID=${parentCid}`),
  }).image;
}

function* parentCases(content: CorpusImage): Generator<HostileCase> {
  const base = sparseImage().image;
  const delta = child('base.vmdk', '12345678');
  const list: readonly (readonly [string, HostileCase['files'], Expected])[] = [
    ['that is supplied', { 'base.vmdk': { image: base } }, refusedOrReads(content, 'IMAGE_UNSUPPORTED')],
    [
      'with another CID',
      {
        'base.vmdk': {
          image: bent(
            base,
            bytesAt(
              512,
              Buffer.from(
                descriptorText('monolithicSparse', ['RW 128 SPARSE "b"']).replace('12345678', '87654321'),
              ),
            ),
          ),
        },
      },
      refusedWith('IMAGE_REFERENCE', 'IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED'),
    ],
    [
      'that is the image itself',
      { 'base.vmdk': { image: 'itself' } },
      refusedWith('IMAGE_REFERENCE', 'IMAGE_LIMIT', 'IMAGE_UNSUPPORTED'),
    ],
    [
      'that is a raw disk',
      { 'base.vmdk': { image: imageOf(65536, bytesAt(0, noise(65536))), format: 'raw' } },
      refusedWith('IMAGE_REFERENCE', 'IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED'),
    ],
  ];
  for (const [name, files, expected] of list) {
    yield {
      name: `descriptor: a delta and a parent ${name}`,
      format,
      image: delta,
      ...(files !== undefined && { files }),
      expected,
    };
  }
}

export const descriptors: Family = { name: 'descriptors', cases };
