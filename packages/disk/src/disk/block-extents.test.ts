import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blockExtents } from './block-extents.ts';
import type { Extent, ExtentKind } from './disk.ts';

const kinds: readonly ExtentKind[] = ['hole', 'data', 'data', 'zero', 'hole', 'hole', 'data'];
const kindOf = (block: number): ExtentKind => kinds[block] ?? 'hole';

async function extents(from: number, to: number): Promise<readonly Extent[]> {
  return Array.fromAsync(blockExtents(10, kindOf, from, to));
}

test('neighbouring blocks of one kind are one extent', async () => {
  assert.deepEqual(await extents(0, 70), [
    { offsetBytes: 0, lengthBytes: 10, kind: 'hole' },
    { offsetBytes: 10, lengthBytes: 20, kind: 'data' },
    { offsetBytes: 30, lengthBytes: 10, kind: 'zero' },
    { offsetBytes: 40, lengthBytes: 20, kind: 'hole' },
    { offsetBytes: 60, lengthBytes: 10, kind: 'data' },
  ]);
});

test('any range is covered exactly', async () => {
  for (let from = 0; from <= 70; from++) {
    for (let to = from; to <= 70; to++) {
      let at = from;
      for (const extent of await extents(from, to)) {
        assert.equal(extent.offsetBytes, at);
        for (; at < extent.offsetBytes + extent.lengthBytes; at++) {
          assert.equal(extent.kind, kindOf(Math.floor(at / 10)));
        }
      }
      assert.equal(at, to);
    }
  }
});

test('blocks after the wanted extent are not looked at', async () => {
  const asked: number[] = [];
  const asking = (block: number) => {
    asked.push(block);
    return kindOf(block);
  };
  const lazily = blockExtents(10, asking, 0, 70);
  await lazily.next();
  await lazily.return();
  assert.deepEqual(asked, [0, 1]);
});

test('an aborted walk throws the reason', async () => {
  const reason = new Error('enough');
  await assert.rejects(Array.fromAsync(blockExtents(10, kindOf, 0, 70, AbortSignal.abort(reason))), reason);
});
