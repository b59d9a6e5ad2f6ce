import {
  type Expected,
  type HostileCase,
  LIMIT,
  MALFORMED,
  REFERENCE,
  readsAs,
  refusedWith,
  TRUNCATED,
} from './case.ts';
import { be16, be32, be64, text, u8 } from './fields.ts';
import { bent, imageOf, type Patch, resized } from './image.ts';
import { qcow2Image } from './qcow2-image.ts';
import { format } from './qcow2-rows.ts';

const NAMES = [
  '/etc/passwd',
  '../../../../etc/passwd',
  'file:///etc/passwd',
  'json:{"driver":"file","filename":"/etc/passwd"}',
  'json:{"file":{"driver":"host_device","filename":"/dev/sda"}}',
  'nbd://127.0.0.1:10809',
  'http://169.254.169.254/latest/meta-data/',
  'fd:0',
  '/proc/self/fd/0',
  '/dev/zero',
  'a.qcow2',
  '',
  '\0',
  'name\0/etc/passwd',
];

export function* referenceCases(): Generator<HostileCase> {
  const size = 64 * 1024;
  for (const name of NAMES) {
    const good = qcow2Image({ backing: { name } });
    // An offset with a length of 0 names nothing: qemu does not look at it.
    yield {
      name: `qcow2: backing file ${JSON.stringify(name)}`,
      format,
      image: good.image,
      expected: name === '' ? refusedWith('IMAGE_REFERENCE', 'IMAGE_MALFORMED') : REFERENCE,
    };
    const data = qcow2Image({ extensions: [[0x44415441, Buffer.from(name)]] });
    yield {
      name: `qcow2: external data file ${JSON.stringify(name)}`,
      format,
      image: bent(data.image, be64(72, 4)),
      expected: REFERENCE,
    };
  }
  const itself = qcow2Image({ backing: { name: 'a.qcow2', format: 'qcow2' } });
  yield {
    name: 'qcow2: backing file is the image itself, supplied as a file of its own',
    format,
    image: itself.image,
    files: { 'a.qcow2': { image: 'itself' } },
    expected: refusedWith('IMAGE_REFERENCE', 'IMAGE_LIMIT'),
  };
  const raw = qcow2Image({ backing: { name: 'base', format: 'raw' }, sizeBytes: size });
  const inner = qcow2Image();
  const under = imageOf(size, { offsetBytes: 0, bytes: Uint8Array.of(7), count: size });
  yield {
    name: 'qcow2: a raw backing file in which the guest wrote a qcow2 header stays raw',
    format,
    image: raw.image,
    files: { base: { image: resized(inner.image, size) } },
    expected: readsAs({
      lengthBytes: size,
      patches: [
        ...resized(inner.image, size).patches,
        // The zero flag hides what is below.
        { offsetBytes: 9 * 4096, bytes: new Uint8Array(4096) },
        ...raw.content.patches,
      ],
    }),
  };
  yield {
    name: 'qcow2: a backing file of one byte below a larger disk',
    format,
    image: raw.image,
    files: { base: { image: imageOf(1, u8(0, 0x77)) } },
    expected: readsAs(raw.content),
  };
  yield {
    name: 'qcow2: a backing file longer than the disk',
    format,
    image: raw.image,
    files: {
      base: { image: imageOf(2 * size, { offsetBytes: 0, bytes: Uint8Array.of(7), count: 2 * size }) },
    },
    expected: readsAs({
      lengthBytes: size,
      patches: [
        ...under.patches,
        { offsetBytes: 9 * 4096, bytes: new Uint8Array(4096) },
        ...raw.content.patches,
      ],
    }),
  };
  yield {
    name: 'qcow2: a backing file of 2^52 bytes',
    format,
    image: raw.image,
    files: { base: { image: imageOf(2 ** 52) } },
    expected: readsAs(raw.content),
  };
}

/** A snapshot that shares all clusters with the present state, one entry in the table. */
export function* snapshotCases(): Generator<HostileCase> {
  const good = qcow2Image();
  const end = good.image.lengthBytes;
  const l1 = end + good.clusterBytes;
  const id = '1';
  const entry = (changes: readonly Patch[] = []) =>
    bent(
      resized(good.image, l1 + good.clusterBytes),
      be32(60, 1),
      be64(64, end),
      be64(end, l1),
      be32(end + 8, 1),
      be16(end + 12, id.length),
      be16(end + 14, 4),
      be32(end + 36, 16),
      be64(end + 48, 65536),
      text(end + 56, `${id}name`),
      be64(l1, BigInt(good.l2.get(0) ?? 0)),
      ...changes,
    );
  const list: readonly [string, readonly Patch[], Expected][] = [
    ['good', [], readsAs(good.content)],
    ['whose L1 table has 0xffffffff entries', [be32(end + 8, 0xffffffff)], LIMIT],
    ['whose L1 table lies past the end', [be64(end, 2n ** 45n)], TRUNCATED],
    ['whose L1 table is unaligned', [be64(end, l1 + 8)], MALFORMED],
    [
      'with extra data of 0xffffffff bytes',
      [be32(end + 36, 0xffffffff)],
      refusedWith('IMAGE_LIMIT', 'IMAGE_TRUNCATED'),
    ],
    ['of a disk of 2^60 bytes', [be64(end + 48, 2n ** 60n)], LIMIT],
    ['of a disk larger than its L1 table', [be64(end + 48, 2n ** 40n)], MALFORMED],
  ];
  for (const [what, changes, expected] of list) {
    yield {
      name: `qcow2: the snapshot opened, ${what}`,
      format,
      image: entry(changes),
      snapshot: id,
      expected,
    };
    yield {
      name: `qcow2: the present state beside a snapshot ${what}`,
      format,
      image: entry(changes),
      expected: readsAs(good.content),
    };
  }
  yield {
    name: 'qcow2: a snapshot that does not exist',
    format,
    image: entry(),
    snapshot: 'other',
    expected: refusedWith('IMAGE_OPTION'),
  };
  yield {
    name: 'qcow2: 65536 snapshots in a small file',
    format,
    image: entry([be32(60, 65536)]),
    snapshot: 'other',
    expected: refusedWith('IMAGE_TRUNCATED', 'IMAGE_LIMIT', 'IMAGE_MALFORMED', 'IMAGE_OPTION'),
  };
}
