import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Disk } from '../disk/disk.ts';
import { rawDisk } from '../formats/raw/format.ts';
import { memorySource } from '../io/memory.ts';
import type { Layout, Piece } from './layout.ts';
import { readZeroExtended, viewOfLayout } from './view.ts';

const guest = Uint8Array.from({ length: 100 }, (_, i) => i + 1);
const stored = memorySource(Uint8Array.from({ length: 50 }, (_, i) => 200 + i));

function layoutOf(pieces: readonly Piece[], lengthBytes: number): Layout {
  return {
    kind: 'layout',
    format: 'test',
    lengthBytes,
    pieces: (from, to) => (from === 0 && to === lengthBytes ? pieces : []),
  };
}

test('bytes beyond the virtual size read as zeros', async () => {
  const disk = rawDisk(memorySource(guest));
  for (const [offset, expected] of [
    [98, [99, 100, 0, 0]],
    [100, [0, 0, 0, 0]],
    [2 ** 50, [0, 0, 0, 0]],
    [0, [1, 2, 3, 4]],
  ] as const) {
    const into = new Uint8Array(4).fill(0xee);
    await readZeroExtended(disk, offset, into);
    assert.deepEqual([...into], expected);
  }
});

test('a view puts together bytes, zeros, guest bytes and stored bytes', async () => {
  const layout = layoutOf(
    [
      { kind: 'bytes', bytes: Uint8Array.of(7, 8) },
      { kind: 'zero', lengthBytes: 2 },
      { kind: 'disk', offsetBytes: 99, lengthBytes: 3 },
      { kind: 'stored', source: stored, offsetBytes: 1, lengthBytes: 2 },
      { kind: 'disk', offsetBytes: 0, lengthBytes: 1 },
      { kind: 'disk', offsetBytes: 1, lengthBytes: 1 },
    ],
    11,
  );
  const view = viewOfLayout(layout, rawDisk(memorySource(guest)));
  const into = new Uint8Array(11).fill(0xee);
  await view.read(0, into);
  assert.deepEqual([...into], [7, 8, 0, 0, 100, 0, 0, 201, 202, 1, 2]);
  assert.deepEqual([view.name, view.lengthBytes], ['test', 11]);
  await assert.rejects(view.read(1, into), /invariant/);
});

test('a view whose layout does not cover the range is our own mistake', async () => {
  const view = viewOfLayout(layoutOf([{ kind: 'zero', lengthBytes: 3 }], 4), rawDisk(memorySource(guest)));
  await assert.rejects(view.read(0, new Uint8Array(4)), /invariant/);
});

test('when one read of a view fails, the others have ended before the error is thrown', async () => {
  let reading = 0;
  const disk: Disk = {
    ...rawDisk(memorySource(guest)),
    async read(offset) {
      reading++;
      for (let turn = 0; turn < (offset === 0 ? 1 : 5); turn++)
        await new Promise((done) => setImmediate(done));
      reading--;
      if (offset === 0) throw new Error('broken');
    },
  };
  const layout = layoutOf(
    [
      { kind: 'disk', offsetBytes: 0, lengthBytes: 2 },
      { kind: 'disk', offsetBytes: 50, lengthBytes: 2 },
    ],
    4,
  );
  await assert.rejects(viewOfLayout(layout, disk).read(0, new Uint8Array(4)), /broken/);
  assert.equal(reading, 0);
});

test('an aborted read of a view throws the reason', async () => {
  const reason = new Error('enough');
  const view = viewOfLayout(layoutOf([{ kind: 'zero', lengthBytes: 4 }], 4), rawDisk(memorySource(guest)));
  await assert.rejects(view.read(0, new Uint8Array(4), AbortSignal.abort(reason)), reason);
});
