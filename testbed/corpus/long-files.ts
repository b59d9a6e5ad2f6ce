import { type HostileCase, LIMIT, readsAs } from './case.ts';
import { be32, be64, le32, le64, text } from './fields.ts';
import { bent, bytesOf, imageOf, resized } from './image.ts';
import { qcow2Image } from './qcow2-image.ts';
import { vdiImage } from './vdi.ts';
import { vhdxImage } from './vhdx-image.ts';
import { descriptorText, headerPatches, SECTOR } from './vmdk-image.ts';

const MIB = 2 ** 20;

const TIB = 2 ** 40;

/** Files that are long and hold next to nothing: what is kept of them must not grow with them. */
export function* longFiles(): Generator<HostileCase> {
  const qcow2 = qcow2Image();
  yield {
    name: 'long file: a qcow2 in clusters of 4 KiB, 256 GiB of hole behind its data',
    format: 'qcow2',
    image: resized(qcow2.image, TIB / 4),
    expected: readsAs(qcow2.content),
  };
  const end = qcow2.image.lengthBytes;
  const count = 65_536;
  const entry = imageOf(
    64,
    be64(0, qcow2.l1),
    be32(8, 1),
    be32(12, 0x00010004),
    be32(36, 16),
    be64(48, 65_536),
    text(56, '1name'),
  );
  yield {
    name: 'long file: a qcow2 with 65536 snapshots',
    format: 'qcow2',
    image: bent(qcow2.image, be32(60, count), be64(64, end), {
      offsetBytes: end,
      bytes: bytesOf(entry),
      count,
    }),
    expected: readsAs(qcow2.content),
  };
  for (const [entryCount, expected] of [
    [2 * MIB, readsAs(imageOf(2 * MIB * 512 * 4096))],
    [2 * MIB + 1, LIMIT],
  ] as const) {
    const capacitySectors = entryCount * 512 * 8;
    yield {
      name: `long file: a VMDK whose grain directory has ${entryCount} entries, none with a table`,
      format: 'vmdk',
      image: imageOf(
        (64 + Math.ceil(entryCount / 128)) * SECTOR,
        ...headerPatches(0, {
          flags: 1,
          capacitySectors,
          directorySector: 21,
          overheadSectors: 32 + Math.ceil(entryCount / 128),
        }),
        text(SECTOR, descriptorText('monolithicSparse', [`RW ${capacitySectors} SPARSE "disk.vmdk"`])),
      ),
      expected,
    };
  }
  const blocks = 4 * MIB;
  const vdi = vdiImage({ map: [0xffffffff] });
  yield {
    name: 'long file: a VDI with a map of 4 Mi blocks, none of them stored',
    format: 'vdi',
    image: bent(
      resized(vdi.image, 512 + blocks * 4),
      le32(344, 512 + blocks * 4),
      le64(368, blocks * MIB),
      le32(384, blocks),
      { offsetBytes: 512, bytes: Uint8Array.of(255), count: blocks * 4 },
    ),
    expected: readsAs(imageOf(blocks * MIB)),
  };
  const batBytes = 32 * MIB;
  yield {
    name: 'long file: a VHDX with a table of 4 Mi blocks, none of them stored',
    format: 'vhdx',
    image: vhdxImage({
      blocks: [],
      sizeBytes: 4 * TIB,
      region: [le32(40, batBytes + MIB)],
      lengthBytes: 4 * MIB + batBytes,
    }).image,
    expected: readsAs(imageOf(4 * TIB)),
  };
}
