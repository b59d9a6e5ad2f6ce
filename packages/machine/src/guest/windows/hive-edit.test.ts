import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { ImageError, memorySource } from '@gantry/disk';
import fc from 'fast-check';
import { Budget } from '../budget.ts';
import { MIB, peer, temporaryFolder } from '../images.testkit.ts';
import { usualLimits } from '../limits.ts';
import { clockCommands, hive } from '../windows.testkit.ts';
import { type ByteChange, reversedChanges } from './byte-changes.ts';
import { CLOCK_KEY, CLOCK_VALUE, clockKey, windowsClock } from './clock.ts';
import { Hive } from './hive.ts';
import { dwordChanges } from './hive-edit.ts';

const CONTROL_SET = 'ControlSet002';
const timeMs = Date.UTC(2024, 1, 29, 12);

async function planned(bytes: Uint8Array): Promise<readonly ByteChange[]> {
  const budget = new Budget(usualLimits);
  const opened = await Hive.open(memorySource(bytes), budget);
  const key = await clockKey(opened, CONTROL_SET);
  assert.ok(key, 'the hive has the key');
  return dwordChanges(opened, { key, keyName: CLOCK_KEY, name: CLOCK_VALUE, number: 1, timeMs }, budget);
}

function made(bytes: Uint8Array, changes: readonly ByteChange[]): Uint8Array {
  const changed = Uint8Array.from(bytes);
  for (const { offsetBytes, before, after } of changes) {
    assert.deepEqual(changed.subarray(offsetBytes, offsetBytes + before.length), before);
    changed.set(after, offsetBytes);
  }
  return changed;
}

/** It writes to a file only, or a pipe of the kernel's. */
async function hivexml(folder: string, bytes: Uint8Array): Promise<string> {
  const file = join(folder, 'read.hive');
  await writeFile(file, bytes);
  return peer('sh', ['-c', 'hivexml "$0" > "$0.xml" && cat "$0.xml"', file]);
}

/** What hivex reads of a hive: the value, and all others, without the times of keys. */
async function readByHivex(folder: string, bytes: Uint8Array): Promise<{ others: string; clock: string[] }> {
  const xml = await hivexml(folder, bytes);
  const value = new RegExp(`<value [^>]*key="${CLOCK_VALUE}"[^>]*(?:/>|>.*?</value>)`, 'gis');
  const others = xml.replaceAll(/<mtime>[^<]*<\/mtime>/g, '').replaceAll(value, '');
  return { others, clock: xml.match(value) ?? [] };
}

/** What the other editor of hives exports of the key. */
async function readByReged(folder: string, bytes: Uint8Array): Promise<string> {
  const file = join(folder, 'exported.hive');
  await writeFile(file, bytes);
  const output = join(folder, 'exported.reg');
  await peer('sh', [
    '-c',
    `reged -x "$0" HKLM '${CONTROL_SET}\\Control' "$1" >/dev/null; test -s "$1"`,
    file,
    output,
  ]);
  return peer('cat', [output]);
}

const names = fc.stringMatching(/^[A-Za-z][A-Za-z0-9 ]{0,40}$/).map((name) => name.trim());
const datas = fc.oneof(
  fc.nat(2 ** 32 - 1).map((number) => `dword:${number}`),
  fc.stringMatching(/^[A-Za-z0-9]{0,60}$/).map((text) => `string:${text}`),
  fc
    .uint8Array({ minLength: 1, maxLength: 80 })
    .map((bytes) => `hex:3:${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(',')}`),
);
const otherValues = fc.uniqueArray(fc.tuple(names, datas), {
  maxLength: 12,
  selector: ([name]) => name.toUpperCase(),
});
const clockDatas = fc.oneof(
  fc.constant(undefined),
  fc.nat(4).map((number) => `dword:${number}`),
  datas,
  fc.constant('qword:1'),
);

test('a value is added or overwritten, and all others stay, for readers that are not ours', async (t) => {
  const folder = await temporaryFolder(t);
  await fc.assert(
    fc.asyncProperty(otherValues, otherValues, clockDatas, fc.nat(), async (old, others, clock, place) => {
      const values = others
        .filter(([name]) => name.toUpperCase() !== CLOCK_VALUE.toUpperCase())
        .map(([name, data]) => `${name}\n${data}`);
      if (clock !== undefined)
        values.splice(place % (values.length + 1), 0, `${CLOCK_VALUE.toUpperCase()}\n${clock}`);
      // Values that are replaced leave free cells of many lengths.
      const bytes = await hive(folder, 'random', [
        ...clockCommands(old.map(([name, data]) => `${name}\n${data}`)),
        `setval ${values.length}`,
        ...values,
      ]);
      const changes = await planned(bytes);
      const changed = made(bytes, changes);
      const [before, after] = [await readByHivex(folder, bytes), await readByHivex(folder, changed)];
      assert.equal(after.others, before.others);
      assert.equal(after.clock.length, 1);
      assert.match(after.clock[0] ?? '', /type="int32"[^>]*value="1"/);
      const exported = await readByReged(folder, changed);
      assert.match(exported, /"RealTimeIsUniversal"=dword:00000001/i);
      assert.deepEqual(made(changed, reversedChanges(changes)), bytes);
      assert.deepEqual(await planned(changed), []);
    }),
    { numRuns: 40 },
  );
});

/** After any number of the changes the hive is read, with or without the value. */
test('an end between two changes leaves a hive that is sound', async (t) => {
  const folder = await temporaryFolder(t);
  for (const values of [[], ['Bias\ndword:60'], [`${CLOCK_VALUE}\nstring:a longer text than four bytes`]]) {
    const bytes = await hive(folder, 'cut', clockCommands(values));
    const { others } = await readByHivex(folder, bytes);
    const changes = await planned(bytes);
    assert.ok(changes.length >= 3);
    for (let count = 0; count <= changes.length; count++) {
      const cut = made(bytes, changes.slice(0, count));
      assert.equal((await readByHivex(folder, cut)).others, others);
      assert.equal((await Hive.open(memorySource(cut), new Budget(usualLimits))).isDirty, false);
    }
  }
});

test('the key says when it was changed, and the header that it was written', async (t) => {
  const folder = await temporaryFolder(t);
  const bytes = await hive(folder, 'times', clockCommands(['Bias\ndword:60']));
  const changed = made(bytes, await planned(bytes));
  assert.match(
    await hivexml(folder, changed),
    /name="TimeZoneInformation"><mtime>2024-02-29T12:00:00Z<\/mtime>/,
  );
  const [old, now] = [bytes, changed].map((one) => new DataView(one.buffer, one.byteOffset));
  for (const at of [4, 8]) assert.equal(now?.getUint32(at, true), (old?.getUint32(at, true) ?? 0) + 1);
});

/** The cells of a hive of one or more bins, each at its offset in the file. */
function* cells(bytes: Uint8Array): Generator<{ at: number; size: number }> {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (let bin = 4096; bin < 4096 + view.getUint32(40, true); bin += view.getUint32(bin + 8, true))
    for (let at = bin + 32; at < bin + view.getUint32(bin + 8, true); at += Math.abs(view.getInt32(at, true)))
      yield { at, size: view.getInt32(at, true) };
}

/** Takes all room of a hive, but for free cells of these lengths. */
function withRoom(bytes: Uint8Array, lengths: readonly number[]): Uint8Array {
  const changed = Uint8Array.from(bytes);
  const view = new DataView(changed.buffer);
  const wanted = [...lengths];
  for (const { at, size } of [...cells(bytes)]) {
    let rest = size;
    for (let cell = at; rest > 0; ) {
      const next = wanted[0] !== undefined && wanted[0] + 8 <= rest ? wanted.shift() : undefined;
      if (next !== undefined) {
        view.setInt32(cell, next, true);
        cell += next;
        rest -= next;
      }
      // A cell in use, so that free ones are apart.
      const used = wanted.length > 0 && rest >= 8 ? 8 : rest;
      if (used > 0) view.setInt32(cell, -used, true);
      cell += used;
      rest -= used;
    }
  }
  assert.deepEqual(wanted, [], 'there was room for what is wanted');
  return changed;
}

test('cells of just the right lengths are found, and their lack is refused', async (t) => {
  const folder = await temporaryFolder(t);
  // A value has 48 bytes, a list of three 16, of four 24.
  const bytes = await hive(folder, 'room', clockCommands(['One\ndword:1', 'Two\ndword:2', 'Three\ndword:3']));
  const freeBytes = (of: Uint8Array) => [...cells(of)].reduce((sum, { size }) => sum + Math.max(0, size), 0);
  for (const lengths of [[72], [48, 24], [24, 48], [48, 48], [56, 32]]) {
    const tight = withRoom(bytes, lengths);
    const changes = await planned(tight);
    const changed = made(tight, changes);
    assert.equal((await readByHivex(folder, changed)).clock.length, 1);
    assert.equal(freeBytes(changed), freeBytes(tight) - 72 + 16);
    assert.deepEqual(made(changed, reversedChanges(changes)), tight);
  }
  for (const lengths of [[], [40, 24], [48], [48, 16], [24, 24, 24, 24]])
    await assert.rejects(planned(withRoom(bytes, lengths)), {
      code: 'IMAGE_UNSUPPORTED',
      message: /no room/,
    });
});

test('room is found in a bin of any length, behind others', async (t) => {
  const folder = await temporaryFolder(t);
  const full = withRoom(await hive(folder, 'bins', clockCommands(['One\ndword:1'])), []);
  const binBytes = 6 * MIB;
  const bytes = new Uint8Array(full.length + binBytes);
  bytes.set(full);
  const view = new DataView(bytes.buffer);
  const binsBytes = view.getUint32(40, true);
  view.setUint32(40, binsBytes + binBytes, true);
  view.setUint32(508, view.getUint32(508, true) ^ binsBytes ^ (binsBytes + binBytes), true);
  bytes.set(Buffer.from('hbin'), full.length);
  view.setUint32(full.length + 4, binsBytes, true);
  view.setUint32(full.length + 8, binBytes, true);
  // A cell in use of more than is looked at in one piece, and a free one.
  view.setInt32(full.length + 32, -5 * MIB, true);
  view.setInt32(full.length + 32 + 5 * MIB, MIB - 32, true);
  assert.equal(full.length, 4096 + binsBytes);
  const changed = made(bytes, await planned(bytes));
  const { others, clock } = await readByHivex(folder, changed);
  assert.deepEqual([others, clock.length], [(await readByHivex(folder, bytes)).others, 1]);
});

test('a list with room for one more stays where it is', async (t) => {
  const folder = await temporaryFolder(t);
  // A list of two has 16 bytes, as one of three.
  const bytes = await hive(folder, 'list', clockCommands(['One\ndword:1', 'Two\ndword:2']));
  const tight = withRoom(bytes, [48]);
  const changed = made(tight, await planned(tight));
  assert.match(await readByReged(folder, changed), /"RealTimeIsUniversal"=dword:00000001/i);
  assert.equal((await readByHivex(folder, changed)).others, (await readByHivex(folder, tight)).others);
  await assert.rejects(planned(withRoom(bytes, [40])), { code: 'IMAGE_UNSUPPORTED', message: /no room/ });
});

test('a hive that is not at rest, or not of Windows, is refused', async (t) => {
  const folder = await temporaryFolder(t);
  const bytes = await hive(folder, 'state', clockCommands([]));
  const bent: readonly (readonly [at: number, value: number, message: RegExp])[] = [
    [4, 7, /not written to its end/],
    [508, 7, /not written to its end/],
    [24, 9, /version 1\.9/],
    [28, 1, /version 1/],
    [32, 2, /version 1/],
  ];
  for (const [at, value, message] of bent) {
    const other = Uint8Array.from(bytes);
    const view = new DataView(other.buffer);
    const old = view.getUint32(at, true);
    view.setUint32(at, value, true);
    if (at > 8 && at < 508) view.setUint32(508, view.getUint32(508, true) ^ old ^ value, true);
    await assert.rejects(planned(other), { code: 'IMAGE_UNSUPPORTED', message });
  }
});

test('a hive that was bent anywhere is refused, or changed and restored', async (t) => {
  const folder = await temporaryFolder(t);
  const bytes = await hive(
    folder,
    'hostile',
    clockCommands(['Bias\ndword:60', `${CLOCK_VALUE}\nstring:a text of more than four bytes`, 'C\nstring:c']),
  );
  const used = [...bytes.keys()].filter((at) => at >= 4096 && bytes[at] !== 0 && at % 4 === 0);
  const bends = fc.array(fc.tuple(fc.constantFrom(...used), fc.oneof(fc.nat(2 ** 32 - 1), fc.nat(8192))), {
    minLength: 1,
    maxLength: 4,
  });
  await fc.assert(
    fc.asyncProperty(bends, async (list) => {
      const other = Uint8Array.from(bytes);
      for (const [at, value] of list) new DataView(other.buffer).setUint32(at, value, true);
      let changes: readonly ByteChange[];
      try {
        const opened = await Hive.open(memorySource(other), new Budget(usualLimits));
        await windowsClock(opened, CONTROL_SET);
        if ((await clockKey(opened, CONTROL_SET)) === undefined) return;
        changes = await planned(other);
      } catch (error) {
        assert.ok(error instanceof ImageError, String(error));
        return;
      }
      const sorted = changes.toSorted((a, b) => a.offsetBytes - b.offsetBytes);
      for (const [index, { offsetBytes, before }] of sorted.entries())
        assert.ok(offsetBytes + before.length <= (sorted[index + 1]?.offsetBytes ?? other.length));
      assert.deepEqual(made(made(other, changes), reversedChanges(changes)), other);
    }),
    { numRuns: 600 },
  );
});
