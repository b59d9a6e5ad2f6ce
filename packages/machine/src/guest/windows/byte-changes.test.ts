import assert from 'node:assert/strict';
import { test } from 'node:test';
import { patchedDisk } from '@gantry/disk';
import fc from 'fast-check';
import { diskOf } from '../images.testkit.ts';
import {
  type ByteChange,
  changesOnDisk,
  changesText,
  parseChanges,
  pendingChanges,
  reversedChanges,
} from './byte-changes.ts';

const SIZE_BYTES = 4096;

/** A disk with a file in runs on it, and changes of the file that are apart. */
const cases = fc
  .record({
    bytes: fc.uint8Array({ minLength: SIZE_BYTES, maxLength: SIZE_BYTES }),
    order: fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7], { minLength: 8 }),
    gaps: fc.array(fc.tuple(fc.nat(200), fc.uint8Array({ minLength: 1, maxLength: 300 })), { maxLength: 6 }),
  })
  .map(({ bytes, order, gaps }) => {
    // Eight clusters of 256 bytes, from the middle of the disk on.
    const runs = order.map((cluster, index) => ({
      fileBytes: index * 256,
      volumeBytes: cluster * 256,
      lengthBytes: 256,
    }));
    const file = Buffer.concat(
      runs.map(({ volumeBytes }) => bytes.subarray(1024 + volumeBytes, 1280 + volumeBytes)),
    );
    const changes: ByteChange[] = [];
    let at = 0;
    for (const [gap, after] of gaps) {
      const offsetBytes = at + gap;
      if (offsetBytes + after.length > file.length) break;
      const before = Uint8Array.from(file.subarray(offsetBytes, offsetBytes + after.length));
      changes.push({ offsetBytes, before, after, what: `change ${changes.length}` });
      at = offsetBytes + after.length;
    }
    const place = { runs, startBytes: 1024, lengthBytes: 2048 };
    return { bytes, place, file, changes };
  });

function changed(bytes: Uint8Array, changes: readonly ByteChange[]): Uint8Array {
  const copy = Uint8Array.from(bytes);
  for (const { offsetBytes, after } of changes) copy.set(after, offsetBytes);
  return copy;
}

async function read(disk: Awaited<ReturnType<typeof diskOf>>): Promise<Uint8Array> {
  const bytes = new Uint8Array(disk.virtualSizeBytes);
  await disk.read(0, bytes);
  return bytes;
}

test('changes of a file in pieces are made where the pieces stand, listed, and taken back', async () => {
  await fc.assert(
    fc.asyncProperty(cases, async ({ bytes, place, file, changes }) => {
      const disk = await diskOf(bytes);
      const placed = changesOnDisk(changes, place, 'file');
      assert.deepEqual(
        await pendingChanges(disk, placed),
        placed.filter(({ before, after }) => !Buffer.from(before).equals(after)),
      );
      const patches = placed.map(({ offsetBytes, after }) => ({ offsetBytes, bytes: after }));
      const after = await read(patchedDisk(disk, patches));
      const expected = changed(file, changes);
      const inFile = place.runs.map(({ volumeBytes }) =>
        after.subarray(1024 + volumeBytes, 1280 + volumeBytes),
      );
      assert.ok(Buffer.concat(inFile).equals(expected));
      const undo = parseChanges(changesText(SIZE_BYTES, reversedChanges(placed)));
      assert.deepEqual(changed(after, undo), bytes);
    }),
  );
});

test('whichever changes were made, and in part, the undo finds what is left to take back', async () => {
  await fc.assert(
    fc.asyncProperty(
      cases,
      fc.array(fc.nat(300), { maxLength: 6 }),
      async ({ bytes, place, changes }, cuts) => {
        const placed = changesOnDisk(changes, place, 'file');
        const partly = placed.map(({ before, after, ...rest }, index) => {
          const cut = (cuts[index] ?? 0) % (after.length + 1);
          return {
            ...rest,
            before,
            after: Uint8Array.from([...after.subarray(0, cut), ...before.subarray(cut)]),
          };
        });
        const killed = changed(bytes, partly);
        const undo = await pendingChanges(await diskOf(killed), reversedChanges(placed), { partly: true });
        assert.deepEqual(changed(killed, undo), bytes);
      },
    ),
  );
});

test('a place with other bytes, or outside, is refused', async () => {
  const disk = await diskOf(new Uint8Array(SIZE_BYTES));
  const change = (offsetBytes: number, before: readonly number[]) => ({
    offsetBytes,
    before: Uint8Array.from(before),
    after: Uint8Array.from(before, () => 7),
    what: 'a change',
  });
  for (const [offsetBytes, before] of [
    [0, [1]],
    [9, [0, 1]],
    [SIZE_BYTES, [0]],
    [SIZE_BYTES - 1, [0, 0]],
  ] as const)
    for (const partly of [false, true])
      await assert.rejects(pendingChanges(disk, [change(offsetBytes, before)], { partly }), {
        code: 'IMAGE_MALFORMED',
      });
  const done = { ...change(0, [0, 0]), before: Uint8Array.of(1, 1), after: Uint8Array.of(0, 0) };
  await assert.rejects(pendingChanges(disk, [done]), { code: 'IMAGE_MALFORMED' });
  assert.deepEqual(await pendingChanges(disk, [done], { partly: true }), []);
});

test('a file of which a part is not stored, or has the place of another, is refused', () => {
  const bytes = new Uint8Array(300);
  const changes = [{ offsetBytes: 100, before: bytes, after: bytes, what: 'a change' }];
  const run = (fileBytes: number, volumeBytes: number) => ({ fileBytes, volumeBytes, lengthBytes: 256 });
  const place = (...runs: readonly ReturnType<typeof run>[]) => ({ runs, startBytes: 0, lengthBytes: 1024 });
  assert.equal(changesOnDisk(changes, place(run(0, 512), run(256, 0)), 'file').length, 2);
  for (const runs of [[], [run(0, 0)], [run(256, 0)], [run(0, 0), run(257, 512)], [run(0, 0), run(256, 900)]])
    assert.throws(() => changesOnDisk(changes, place(...runs), 'file'), { code: 'IMAGE_UNSUPPORTED' });
  assert.throws(() => changesOnDisk(changes, place(run(0, 0), run(256, 100)), 'file'), {
    code: 'IMAGE_MALFORMED',
  });
});

test('what is no list of changes is refused', () => {
  const good = JSON.parse(
    changesText(100, [{ offsetBytes: 1, before: Uint8Array.of(1), after: Uint8Array.of(2), what: 'w' }]),
  );
  const [change] = good.changes;
  assert.equal(parseChanges(JSON.stringify(good)).length, 1);
  const others: unknown[] = [
    null,
    7,
    [],
    { ...good, kind: 'other' },
    { ...good, version: 2 },
    { ...good, virtualSizeBytes: -1 },
    { ...good, virtualSizeBytes: '100' },
    { ...good, changes: null },
    { ...good, changes: Array.from({ length: 5000 }, () => change) },
    { ...good, changes: [null] },
    { ...good, changes: [change, change] },
    ...[
      { offsetBytes: 100 },
      { offsetBytes: 0.5 },
      { offsetBytes: -1 },
      { before: '' },
      { before: '0' },
      { before: 'zz' },
      { after: '0102' },
      { after: 7 },
    ].map((bent) => ({ ...good, changes: [{ ...change, ...bent }] })),
  ];
  for (const other of others)
    assert.throws(
      () => parseChanges(JSON.stringify(other)),
      { code: 'IMAGE_MALFORMED' },
      JSON.stringify(other),
    );
  assert.throws(() => parseChanges('{'), { code: 'IMAGE_MALFORMED' });
});
