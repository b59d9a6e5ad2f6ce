import { type Family, type HostileCase, readsAs, UNSUPPORTED } from './case.ts';
import { bytesAt, noise, text, u8 } from './fields.ts';
import { bent, type CorpusImage, imageOf, type Patch } from './image.ts';

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
  ['ISO 9660', text(0x8001, 'CD001')],
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

export const raw: Family = { name: 'raw', cases };
