import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { SocketAddress } from '../io/byte-channel.ts';
import { nbdAddressText, parseNbdAddress } from './address.ts';
import { Coverage } from './coverage.ts';
import { MemoryBudget } from './memory-budget.ts';
import { Slots } from './slots.ts';

test('an address is read as it was written', () => {
  const plain = { noNullPrototype: true };
  const socket = fc.oneof(
    fc.record({ kind: fc.constant('unix'), path: fc.string({ minLength: 1, unit: 'grapheme' }) }, plain),
    fc.record(
      {
        kind: fc.constant('tcp'),
        host: fc.constantFrom('localhost', '127.0.0.1', '::1', 'a.example'),
        port: fc.nat(65_535),
      },
      plain,
    ),
  ) as fc.Arbitrary<SocketAddress>;
  const name = fc.string({ unit: 'grapheme' }).filter((text) => !/^\.{1,2}$|(^|\/)\.{1,2}(\/|$)/.test(text));
  fc.assert(
    fc.property(socket, name, (place, exportName) => {
      const address = { socket: place, exportName };
      assert.deepEqual(parseNbdAddress(nbdAddressText(address)), address);
    }),
  );
  assert.deepEqual(parseNbdAddress('nbd://example.com//disk'), {
    socket: { kind: 'tcp', host: 'example.com', port: 10809 },
    exportName: '/disk',
  });
  assert.deepEqual(parseNbdAddress('nbd+unix:///hello%20world?socket=/a%20b'), {
    socket: { kind: 'unix', path: '/a b' },
    exportName: 'hello world',
  });
});

test('a range is whole when all of it was filled once, in any order', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(30), fc.nat(8))), (parts) => {
      const coverage = new Coverage(30);
      const filled = new Array<boolean>(30).fill(false);
      for (const [start, length] of parts) {
        const fits =
          length > 0 && start + length <= 30 && !filled.slice(start, start + length).includes(true);
        assert.equal(coverage.add(start, length), fits);
        if (fits) filled.fill(true, start, start + length);
        assert.equal(coverage.isWhole, !filled.includes(false));
      }
    }),
  );
});

test('memory is lent up to its limit, and to all who wait when it comes back', async () => {
  const budget = new MemoryBudget(64 * 1024);
  const first = await budget.take(40_000);
  assert.equal(first.length, 40_000);
  const waiting = [budget.take(5000), budget.take(60_000), budget.take(100)];
  budget.give(first);
  const second = (await waiting[0]) as Uint8Array;
  assert.equal(second.length, 5000);
  budget.give(second);
  const third = (await waiting[1]) as Uint8Array;
  budget.give(third);
  assert.equal((await waiting[2])?.length, 100);
});

test('places pass on in order, and it is told when all are free', async () => {
  const slots = new Slots(2);
  await slots.take();
  await slots.take();
  const order: number[] = [];
  const third = slots.take().then(() => order.push(3));
  const fourth = slots.take().then(() => order.push(4));
  slots.give();
  await third;
  slots.give();
  await fourth;
  assert.deepEqual(order, [3, 4]);
  const idle = slots.idle().then(() => order.push(0));
  await slots.idle(2);
  slots.give();
  await slots.idle(1);
  slots.give();
  await idle;
  assert.deepEqual(order, [3, 4, 0]);
});
