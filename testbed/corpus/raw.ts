import { type Family, type HostileCase, MALFORMED, readsAs, TRUNCATED, UNSUPPORTED } from './case.ts';
import { bytesAt, le16, le32, noise, text, u8 } from './fields.ts';
import { bent, type CorpusImage, imageOf, type Patch, resized } from './image.ts';

const LENGTH = 40 * 1024;
/** Nothing in it is a mark. */
const body = imageOf(LENGTH, bytesAt(0, noise(LENGTH, 4)));

/** Formats that are known by their mark and not read. */
const known: readonly (readonly [what: string, ...patches: readonly Patch[]])[] = [
  ['QED', text(0, 'QED\0')],
  ['Parallels', text(0, 'WithoutFreeSpace')],
  ['Parallels 2', text(0, 'WithouFreSpacExt')],
  ['Bochs', text(0, 'Bochs Virtual HD Image')],
  ['cloop', text(0, '#!/bin/sh\n#V2.0 Format\n')],
  ['LUKS', text(0, 'LUKS\xba\xbe')],
  ['ZIP', text(0, 'PK\x03\x04')],
  ['bzip2', text(0, 'BZh9\x31\x41\x59\x26\x53\x59')],
  ['DMG', text(LENGTH - 512, 'koly')],
];

function* cases(): Generator<HostileCase> {
  const one = (name: string, image: CorpusImage, format?: string): HostileCase => ({
    name: `raw: ${name}`,
    ...(format !== undefined && { format }),
    image,
    expected: readsAs(image),
  });
  for (const lengthBytes of [0, 1, 2, 71, 511, 512, 513, 1023, 1024, 4095, 65535, 65536, 65537, LENGTH]) {
    const image = imageOf(lengthBytes, bytesAt(0, noise(lengthBytes, 4)));
    yield one(`${lengthBytes} bytes of noise`, image);
    yield one(`${lengthBytes} bytes of noise, declared`, image, 'raw');
    yield one(`${lengthBytes} zeros`, imageOf(lengthBytes));
  }
  for (const [what, ...patches] of known) {
    const image = bent(body, ...patches);
    yield { name: `raw: the mark of ${what}`, image, expected: UNSUPPORTED };
    yield one(`the mark of ${what}, declared as raw`, image, 'raw');
    const [mark] = patches;
    const broken = u8((mark?.offsetBytes ?? 0) + 2, 0);
    yield one(`a damaged mark of ${what}`, bent(image, broken));
  }
}

/** An image of a disc is the bare bytes, whatever its descriptors say. */
function* isoCases(): Generator<HostileCase> {
  const at = 0x8000;
  const image = (...patches: readonly Patch[]) =>
    bent(
      imageOf(at + 4 * 2048, bytesAt(0, noise(512))),
      u8(at, 1),
      text(at + 1, 'CD001\x01'),
      le32(at + 80, 20),
      le16(at + 128, 2048),
      ...patches,
    );
  const list: readonly (readonly [string, CorpusImage])[] = [
    ['good', image()],
    ['of 2^32 - 1 blocks', image(le32(at + 80, 0xffffffff))],
    ['of blocks of 0 bytes', image(le16(at + 128, 0))],
    ['of blocks of 65535 bytes', image(le16(at + 128, 65535))],
    ['with an unknown descriptor', image(u8(at, 77))],
    [
      'with descriptors to its end',
      {
        ...image(),
        patches: [
          { offsetBytes: at, bytes: Buffer.from('\x02CD001\x01'.padEnd(2048, '\0'), 'latin1'), count: 4 },
        ],
      },
    ],
  ];
  for (const [what, made] of list) yield { name: `iso: ${what}`, image: made, expected: readsAs(made) };
  for (const lengthBytes of [at + 6, at + 100, at + 2047]) {
    yield {
      name: `iso: cut to ${lengthBytes} bytes`,
      image: resized(image(), lengthBytes),
      expected: TRUNCATED,
    };
  }
  yield { name: 'iso: declared, without its mark', format: 'iso', image: body, expected: MALFORMED };
  yield { name: 'iso: declared, of 10 bytes', format: 'iso', image: imageOf(10), expected: TRUNCATED };
}

function* rawAndIso(): Generator<HostileCase> {
  yield* cases();
  yield* isoCases();
}

export const raw: Family = { name: 'raw', cases: rawAndIso };
