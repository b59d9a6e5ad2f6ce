import { AMBIGUOUS, type Family, type HostileCase, readsAs } from './case.ts';
import { be32, bytesAt, le32, text } from './fields.ts';
import { imageOf, type Patch } from './image.ts';
import { tarHeader } from './tar-image.ts';
import { vhdFooter } from './vhd.ts';

const LENGTH = 68 * 1024;
const END = LENGTH - 512;

/** Marks by the place they stand at: two of different places can stand in one file. */
const marks: readonly (readonly [place: string, format: string, patches: readonly Patch[]])[] = [
  ['start', 'qcow2', [text(0, 'QFI\xfb'), be32(4, 3)]],
  ['start', 'qcow2 version 2', [text(0, 'QFI\xfb'), be32(4, 2)]],
  ['start', 'qcow', [text(0, 'QFI\xfb'), be32(4, 1)]],
  ['start', 'vhdx', [text(0, 'vhdxfile')]],
  ['start', 'vmdk', [text(0, 'KDMV')]],
  ['start', 'vmfsSparse', [text(0, 'COWD')]],
  ['start', 'seSparse', [text(0, '\xbe\xba\xfe\xca\0\0\0\0')]],
  ['start', 'vmdk descriptor', [text(0, '# Disk DescriptorFile\nversion=1\n')]],
  ['start', 'zvhd', [text(0, 'stream\0\0')]],
  ['start', 'zvhd2', [text(0, 'z2strm\0\0')]],
  ['start', 'luks', [text(0, 'LUKS\xba\xbe')]],
  ['start', 'gzip', [text(0, '\x1f\x8b\x08\0')]],
  ['start', 'zstd', [text(0, '\x28\xb5\x2f\xfd')]],
  ['start', 'xz', [text(0, '\xfd7zXZ\0')]],
  ['start', 'zip', [text(0, 'PK\x03\x04')]],
  ['start', 'qed', [text(0, 'QED\0')]],
  ['64', 'vdi', [le32(64, 0xbeda107f)]],
  ['257', 'tar', []],
  ['32769', 'iso', [text(0x8001, 'CD001')]],
  ['end', 'vhd', [bytesAt(END, vhdFooter({ type: 2, sizeBytes: END, dataOffset: 2n ** 64n - 1n }))]],
  ['end', 'dmg', [text(END, 'koly')]],
];

function* cases(): Generator<HostileCase> {
  for (const [index, [place, format, patches]] of marks.entries()) {
    for (const [otherPlace, otherFormat, otherPatches] of marks.slice(index + 1)) {
      if (place === otherPlace) continue;
      const both = [...patches, ...otherPatches];
      const isTar = otherPlace === '257' || place === '257';
      // The header's sum is right whatever its name says; where the other mark is.
      const front = both.filter(({ offsetBytes }) => offsetBytes < 512);
      const image = imageOf(
        LENGTH,
        ...(isTar ? [bytesAt(0, tarHeader({ name: 'a', lengthBytes: 1024, patches: front }))] : front),
        ...both.filter(({ offsetBytes }) => offsetBytes >= 512),
      );
      yield { name: `polyglot: the marks of ${format} and ${otherFormat}`, image, expected: AMBIGUOUS };
      yield {
        name: `polyglot: the marks of ${format} and ${otherFormat}, declared as raw`,
        format: 'raw',
        image,
        expected: readsAs(image),
      };
    }
  }
}

export const polyglots: Family = { name: 'polyglots', cases };
