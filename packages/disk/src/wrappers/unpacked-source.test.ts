import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type UnpackEntry, unpackedSource } from './unpacked-source.ts';

const MIB = 2 ** 20;

/** Entries of zeros, ten MiB each, that note when they are begun and when they end. */
function entries(count: number, notes: string[]): UnpackEntry[] {
  return Array.from({ length: count }, (_, first) => ({
    outputBytes: first * 10 * MIB,
    async *start() {
      notes.push(`start ${first}`);
      for (let entry = first; entry < count; entry++) {
        for (let i = 0; i < 10; i++) yield new Uint8Array(MIB);
        notes.push(`end ${entry}`);
      }
    },
  }));
}

test('a far place is begun at its entry, and what was read in part is ended before it is trusted', async () => {
  const notes: string[] = [];
  const source = unpackedSource('x', 200 * MIB, entries(20, notes), false);
  await source.read(5 * MIB, new Uint8Array(10));
  await source.read(155 * MIB, new Uint8Array(10));
  assert.deepEqual(notes, ['start 0', 'start 15']);
  await source.drain();
  assert.deepEqual(notes, ['start 0', 'start 15', 'end 15', 'start 0', 'end 0']);
});

test('reading forward begins once', async () => {
  const notes: string[] = [];
  const source = unpackedSource('x', 100 * MIB, entries(10, notes), false);
  for (let at = 0; at < 100 * MIB; at += MIB) await source.read(at, new Uint8Array(100));
  await source.drain();
  assert.equal(notes.filter((note) => note.startsWith('start')).length, 1);
  assert.equal(notes.at(-1), 'end 9');
});

test('who goes back again and again is refused', async () => {
  const source = unpackedSource('x', 100 * MIB, entries(1, []).concat(), false, 150 * MIB);
  const single = unpackedSource(
    'x',
    100 * MIB,
    [
      {
        outputBytes: 0,
        async *start() {
          for (let i = 0; i < 100; i++) yield new Uint8Array(MIB);
        },
      },
    ],
    false,
    150 * MIB,
  );
  await source.close();
  const jump = async () => {
    await single.read(99 * MIB, new Uint8Array(10));
    await single.read(20 * MIB, new Uint8Array(10));
  };
  await assert.rejects(
    async () => {
      for (let i = 0; i < 10; i++) await jump();
    },
    { code: 'IMAGE_NOT_SEQUENTIAL' },
  );
});

test('the start is kept, however far the reader went', async () => {
  const notes: string[] = [];
  const source = unpackedSource('x', 100 * MIB, entries(1, notes).concat([]), false);
  await source.read(9 * MIB, new Uint8Array(10));
  await source.read(0, new Uint8Array(5 * MIB));
  assert.deepEqual(notes, ['start 0']);
});

test('a file that gives less or more than its headers say is malformed', async () => {
  for (const lengthBytes of [5 * MIB, 15 * MIB]) {
    const source = unpackedSource('x', lengthBytes, entries(1, []), false);
    await assert.rejects(
      source.read(0, new Uint8Array(lengthBytes)).then(() => source.drain()),
      {
        code: 'IMAGE_MALFORMED',
      },
    );
  }
});

test("another reader's abort does not end this one's read", async () => {
  const gate = Promise.withResolvers<void>();
  let runs = 0;
  const source = unpackedSource(
    'x',
    2,
    [
      {
        outputBytes: 0,
        async *start(signal) {
          if (runs++ === 0) {
            await gate.promise;
            signal?.throwIfAborted();
          }
          yield Uint8Array.of(1, 2);
        },
      },
    ],
    true,
  );
  const leaving = new AbortController();
  const first = source.read(0, new Uint8Array(2), leaving.signal);
  const into = new Uint8Array(2);
  const second = source.read(0, into, new AbortController().signal);
  leaving.abort(new Error('enough'));
  gate.resolve();
  await assert.rejects(first, /enough/);
  await second;
  assert.deepEqual([...into], [1, 2]);
});
