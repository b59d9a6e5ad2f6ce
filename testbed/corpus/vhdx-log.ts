import { type Expected, type HostileCase, MALFORMED, readsAs, refusedOrReads, refusedWith } from './case.ts';
import { bytesAt, le32, le64, noise, text, u8 } from './fields.ts';
import { bent, type CorpusImage, type Patch } from './image.ts';
import { bytesAfter } from './vhdx-fields.ts';
import { BAT, LOG, LOG_GUID, type LogEntryFields, logEntry, vhdxImage } from './vhdx-image.ts';

const format = 'vhdx';

const KIB = 1024;

const MIB = 2 ** 20;

const PAGE = noise(4096, 42);

const OTHER = noise(4096, 43);

const FILE = 6 * MIB;

/** Where a page of the log goes: the second page of the block at 4 MiB, block 2 of the guest. */
const TARGET = 4 * MIB + 8192;

function entryAt(at: number, fields: Partial<LogEntryFields> & { sequence: number }): Patch {
  return bytesAt(at, logEntry({ tail: at, flushedBytes: FILE, lastBytes: FILE, ...fields }));
}

export function* logCases(content: CorpusImage): Generator<HostileCase> {
  const same = readsAs(content);
  const written = readsAs(bent(content, bytesAt(2 * MIB + 8192, PAGE)));
  const list: readonly (readonly [string, readonly Patch[], Expected])[] = [
    ['of one entry', [entryAt(0, { sequence: 5, pages: [[TARGET, PAGE]] })], written],
    [
      'of two entries',
      [
        entryAt(0, { sequence: 5, pages: [[TARGET, OTHER]] }),
        entryAt(8192, { sequence: 6, tail: 0, pages: [[TARGET, PAGE]] }),
      ],
      written,
    ],
    [
      'that wraps round',
      [
        ...wrapped(
          logEntry({
            sequence: 5,
            tail: MIB - 4096,
            pages: [[TARGET, PAGE]],
            flushedBytes: FILE,
            lastBytes: FILE,
          }),
          MIB - 4096,
        ),
      ],
      written,
    ],
    [
      'with zeros',
      [entryAt(0, { sequence: 5, zeros: [[4 * MIB, 4096]] })],
      readsAs(bent(content, bytesAt(2 * MIB, new Uint8Array(4096)))),
    ],
    [
      'of an older sequence beside a newer one',
      [
        entryAt(0, { sequence: 5, pages: [[TARGET, OTHER]] }),
        entryAt(65536, { sequence: 9, pages: [[TARGET, PAGE]] }),
      ],
      written,
    ],
    [
      'with another GUID',
      [entryAt(0, { sequence: 5, pages: [[TARGET, PAGE]], patches: [bytesAt(32, noise(16))] })],
      same,
    ],
    ['with a wrong CRC', [entryAt(0, { sequence: 5, pages: [[TARGET, PAGE]] }), u8(5000, 1)], same],
    [
      'of sequence 0',
      [entryAt(0, { sequence: 0, pages: [[TARGET, PAGE]] })],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    [
      'whose tail names another place',
      [entryAt(0, { sequence: 5, tail: 4096, pages: [[TARGET, PAGE]] })],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    [
      'whose tail is outside of the log',
      [entryAt(0, { sequence: 5, tail: 0xfffff000, pages: [[TARGET, PAGE]] })],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    [
      'whose tail is unaligned',
      [entryAt(0, { sequence: 5, tail: 100, pages: [[TARGET, PAGE]] })],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    [
      'whose entry is longer than the log',
      [entryAt(0, { sequence: 5, pages: [[TARGET, PAGE]], patches: [le32(8, 2 * MIB)] })],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    [
      'whose entry has 0 bytes',
      [entryAt(0, { sequence: 5, pages: [[TARGET, PAGE]], patches: [le32(8, 0)] })],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    [
      'whose entry has 100 bytes',
      [entryAt(0, { sequence: 5, patches: [le32(8, 100)] })],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    [
      'with 0xffffffff descriptors',
      [entryAt(0, { sequence: 5, pages: [[TARGET, PAGE]], patches: [le32(24, 0xffffffff)] })],
      refusedOrReads(content, 'IMAGE_MALFORMED', 'IMAGE_LIMIT'),
    ],
    [
      'with more descriptors than pages',
      [entryAt(0, { sequence: 5, pages: [[TARGET, PAGE]], patches: [le32(24, 2)] })],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    [
      'with an unknown descriptor',
      [entryAt(0, { sequence: 5, pages: [[TARGET, PAGE]], patches: [text(64, 'what')] })],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    [
      'with a descriptor of another sequence',
      [entryAt(0, { sequence: 5, pages: [[TARGET, PAGE]], patches: [le64(88, 4)] })],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    [
      'with a data sector of another sequence',
      [entryAt(0, { sequence: 5, pages: [[TARGET, PAGE]], patches: [le32(8188, 4)] })],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    [
      'that writes an unaligned page',
      [entryAt(0, { sequence: 5, pages: [[TARGET + 8, PAGE]] })],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    [
      'that writes into the headers',
      [entryAt(0, { sequence: 5, pages: [[64 * KIB, PAGE]] })],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    ['that writes the file identifier', [entryAt(0, { sequence: 5, pages: [[0, PAGE]] })], MALFORMED],
    [
      'that writes into itself',
      [entryAt(0, { sequence: 5, pages: [[LOG, PAGE]] })],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    ['that writes past the end', [entryAt(0, { sequence: 5, pages: [[2n ** 40n, PAGE]] })], MALFORMED],
    [
      'that writes at 2^63',
      [entryAt(0, { sequence: 5, pages: [[2n ** 63n, PAGE]] })],
      refusedWith('IMAGE_MALFORMED', 'IMAGE_LIMIT'),
    ],
    [
      'that makes 2^63 bytes zero',
      [entryAt(0, { sequence: 5, zeros: [[4 * MIB, 2n ** 63n]] })],
      refusedWith('IMAGE_MALFORMED', 'IMAGE_LIMIT'),
    ],
    ['that makes 2^40 bytes zero', [entryAt(0, { sequence: 5, zeros: [[4 * MIB, 2n ** 40n]] })], MALFORMED],
    [
      'that makes an odd number of bytes zero',
      [entryAt(0, { sequence: 5, zeros: [[4 * MIB, 100]] })],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    [
      'of a file that was longer',
      [entryAt(0, { sequence: 5, pages: [[TARGET, PAGE]], flushedBytes: FILE + MIB })],
      refusedWith('IMAGE_TRUNCATED', 'IMAGE_MALFORMED'),
    ],
    [
      'that says the file ends at 2^62',
      [entryAt(0, { sequence: 5, pages: [[TARGET, PAGE]], lastBytes: 2n ** 62n })],
      refusedWith('IMAGE_TRUNCATED', 'IMAGE_MALFORMED', 'IMAGE_LIMIT'),
    ],
    [
      'that says the file ends at 2^40',
      [entryAt(0, { sequence: 5, pages: [[TARGET, PAGE]], lastBytes: 2 ** 40 })],
      refusedOrReads(written.reads!, 'IMAGE_TRUNCATED', 'IMAGE_MALFORMED', 'IMAGE_LIMIT'),
    ],
    [
      'full of entries that each name the one before',
      loop(),
      refusedOrReads(written.reads!, 'IMAGE_MALFORMED'),
    ],
    ['that changes the metadata', [entryAt(0, { sequence: 5, pages: [[2 * MIB, PAGE]] })], MALFORMED],
    [
      'that changes the BAT to name the log',
      [
        entryAt(0, {
          sequence: 5,
          pages: [[BAT, bytesAfter(new Uint8Array(4096), le64(0, BigInt(LOG) | 6n))]],
        }),
      ],
      MALFORMED,
    ],
  ];
  for (const [what, log, expected] of list) {
    const { image } = vhdxImage({ header: [bytesAt(48, LOG_GUID)], log });
    yield { name: `vhdx: a log ${what}`, format, image, expected };
  }
}

/** The bytes of an entry from an offset of the log on, its rest at the log's start. */
function wrapped(entry: Uint8Array, at: number): Patch[] {
  return [bytesAt(at, entry.subarray(0, MIB - at)), bytesAt(0, entry.subarray(MIB - at))];
}

/** 128 entries in a row, each of which begins its sequence where the ring does. */
function loop(): Patch[] {
  return Array.from({ length: 128 }, (_, index) =>
    entryAt(index * 8192, {
      sequence: 5 + index,
      tail: index === 0 ? 0 : 8192 * (index - 1),
      pages: [[TARGET, PAGE]],
    }),
  );
}
