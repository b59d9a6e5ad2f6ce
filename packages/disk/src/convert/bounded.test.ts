import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { forEachBounded, mapOrdered } from './bounded.ts';

/** Ends after so many turns of the event loop. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await setImmediate();
}

test('results come in the order of the items, with no more tasks at once than allowed', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat({ max: 5 }), { maxLength: 30 }),
      fc.integer({ min: 1, max: 6 }),
      async (durations, limit) => {
        let running = 0;
        let most = 0;
        const task = async (item: { index: number; duration: number }) => {
          most = Math.max(most, ++running);
          await turns(item.duration);
          running--;
          return item.index;
        };
        const items = durations.map((duration, index) => ({ index, duration }));
        assert.deepEqual(await Array.fromAsync(mapOrdered(items, limit, task)), [...durations.keys()]);
        assert.ok(most <= limit, `${most} at once`);
      },
    ),
    { numRuns: 50 },
  );
});

test('with room for several, several run at once', async () => {
  let running = 0;
  let most = 0;
  await forEachBounded([1, 2, 3, 4, 5, 6], 3, async () => {
    most = Math.max(most, ++running);
    await turns(3);
    running--;
  });
  assert.equal(most, 3);
});

test('the first failure by order is thrown once the tasks at work are done, and few are started after it', async () => {
  let running = 0;
  let started = 0;
  const task = async (item: number) => {
    started++;
    running++;
    await turns(item === 5 ? 1 : 4);
    running--;
    if (item === 5 || item === 6) throw new Error(`task ${item}`);
  };
  const items = Array.from({ length: 100 }, (_, i) => i);
  await assert.rejects(forEachBounded(items, 4, task), /task 5/);
  assert.equal(running, 0, 'nothing is left at work');
  assert.ok(started <= 10, `${started} started`);
});

test('a failure of the items themselves waits for the tasks at work', async () => {
  let running = 0;
  async function* items(): AsyncGenerator<number> {
    yield 1;
    yield 2;
    throw new Error('no more items');
  }
  const task = async () => {
    running++;
    await turns(3);
    running--;
  };
  await assert.rejects(forEachBounded(items(), 5, task), /no more items/);
  assert.equal(running, 0);
});

test('who stops early waits for the tasks at work and closes the items', async () => {
  let running = 0;
  let closed = false;
  async function* items(): AsyncGenerator<number> {
    try {
      for (let i = 0; ; i++) yield i;
    } finally {
      closed = true;
    }
  }
  const task = async (item: number) => {
    running++;
    await turns(item);
    running--;
    return item;
  };
  for await (const result of mapOrdered(items(), 4, task)) {
    if (result === 2) break;
  }
  assert.equal(running, 0);
  assert.ok(closed);
});

test('tasks that fail after an early stop are no unhandled rejections', async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', note);
  try {
    const task = async (item: number) => {
      await turns(item);
      if (item > 0) throw new Error(`task ${item}`);
    };
    for await (const _ of mapOrdered([0, 1, 2, 3], 4, task)) break;
    await turns(5);
  } finally {
    process.off('unhandledRejection', note);
  }
  assert.deepEqual(unhandled, []);
});
