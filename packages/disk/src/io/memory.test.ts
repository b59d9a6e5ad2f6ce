import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readStructure, requireInside } from './byte-source.ts';
import { memorySink, memorySource } from './memory.ts';
import { sliceSource } from './slice.ts';

const reason = new Error('enough');

test('a memory sink holds what was written, in any order, and zeros elsewhere', async () => {
  const write = fc.record({ offset: fc.nat({ max: 200_000 }), bytes: fc.uint8Array({ maxLength: 50 }) });
  await fc.assert(
    fc.asyncProperty(fc.array(write, { maxLength: 8 }), fc.nat({ max: 210_000 }), async (writes, length) => {
      const sink = memorySink();
      const expected = new Uint8Array(210_000);
      for (const { offset, bytes } of writes) {
        await sink.write(offset, bytes);
        expected.set(bytes, offset);
      }
      await sink.finish(length);
      assert.deepEqual(sink.bytes(), expected.slice(0, length));
    }),
    { numRuns: 50 },
  );
});

test('a memory sink has no bytes before it is finished', async () => {
  const sink = memorySink();
  await sink.write(0, Uint8Array.of(1));
  assert.throws(() => sink.bytes(), /invariant/);
});

test('memory obeys an abort like any other place', async () => {
  const aborted = AbortSignal.abort(reason);
  await assert.rejects(memorySource(new Uint8Array(4)).read(0, new Uint8Array(1), aborted), reason);
  await assert.rejects(memorySink().write(0, new Uint8Array(1), aborted), reason);
});

test('a slice is a source of its own range', async () => {
  const source = memorySource(Uint8Array.from({ length: 100 }, (_, i) => i));
  const slice = sliceSource(source, 10, 20, 'member');
  assert.deepEqual([slice.name, slice.lengthBytes], ['member', 20]);
  const into = new Uint8Array(3);
  await slice.read(17, into);
  assert.deepEqual([...into], [27, 28, 29]);
  await assert.rejects(slice.read(18, into), /invariant/);
  assert.throws(() => sliceSource(source, 90, 11), /invariant/);
  await slice.close();
  await source.read(0, into);
});

test('a structure that does not lie in the source is truncated, and no memory is taken for it', async () => {
  const source = memorySource(new Uint8Array(100), 'disk.img');
  assert.equal((await readStructure(source, 90, 10, 'tail')).length, 10);
  for (const [offset, length] of [
    [90, 11],
    [101, 0],
    [0, 2 ** 50],
    [2 ** 52, 8],
  ] as const) {
    await assert.rejects(readStructure(source, offset, length, 'tail'), {
      code: 'IMAGE_TRUNCATED',
      structure: 'tail',
      offsetBytes: offset,
    });
    assert.throws(() => requireInside(source, offset, length, 'tail'), { code: 'IMAGE_TRUNCATED' });
  }
});
