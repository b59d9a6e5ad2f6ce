import assert from 'node:assert/strict';
import { appendFile, mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { bootDisk, machineOf, said, setUp, until } from './driver.testkit.ts';
import { machineFolder } from './machine-folder.ts';
import { SERIAL_LOG_KEPT_BYTES, trimLogs } from './trim-logs.ts';

const MARK_BYTES = 2 ** 16;

/** As a guest writes: each part says its own place. */
async function say(path: string, fromBytes: number, toBytes: number): Promise<void> {
  for (let at = fromBytes; at < toBytes; at += 2 ** 20) {
    const part = Buffer.alloc(2 ** 20, 'x');
    for (let mark = 0; mark < part.length; mark += MARK_BYTES) part.write(`[${at + mark}]`, mark);
    await appendFile(path, part);
  }
}

test('of what a guest says without an end the newest part is kept, in its place', async (t) => {
  const { folder, driver } = await setUp(t);
  await driver.define('vm', machineOf([]));
  const { serialLog, log } = machineFolder(join(folder, 'machines'), 'vm');
  await say(serialLog, 0, 2 * SERIAL_LOG_KEPT_BYTES);
  await writeFile(log, Buffer.alloc(3 * 2 ** 20, 'x'));
  const before = await driver.console('vm');
  assert.deepEqual([before.startBytes, before.lengthBytes], [SERIAL_LOG_KEPT_BYTES, SERIAL_LOG_KEPT_BYTES]);
  await say(serialLog, 2 * SERIAL_LOG_KEPT_BYTES, 4 * SERIAL_LOG_KEPT_BYTES);
  await assert.rejects(before.read(0, 10), { code: 'STORE_CHANGED' });
  // Whoever looks at a machine trims its logs.
  await driver.status('vm');
  assert.ok((await stat(serialLog)).blocks * 512 <= 2 * SERIAL_LOG_KEPT_BYTES);
  assert.ok((await stat(log)).blocks * 512 <= 2 * 2 ** 20);
  await say(serialLog, 4 * SERIAL_LOG_KEPT_BYTES, 4 * SERIAL_LOG_KEPT_BYTES + 2 ** 20);
  const { startBytes, lengthBytes, read } = await driver.console('vm');
  assert.equal(startBytes, 3 * SERIAL_LOG_KEPT_BYTES);
  assert.equal(startBytes + lengthBytes, 4 * SERIAL_LOG_KEPT_BYTES + 2 ** 20);
  for (const at of [0, SERIAL_LOG_KEPT_BYTES, lengthBytes - MARK_BYTES]) {
    const mark = `[${startBytes + at}]`;
    assert.equal(Buffer.from(await read(at, mark.length)).toString(), mark);
  }
});

test('a log is written on behind what was given up, and anew at the next start', async (t) => {
  const { folder, driver } = await setUp(t);
  const machine = machineFolder(join(folder, 'machines'), 'vm');
  await driver.define('vm', machineOf([await bootDisk(join(folder, 'disk.raw'), 'ready', 'nothing')]));
  await driver.start('vm');
  await until(async () => (await said(driver, 'vm')) === 'ready');
  await say(machine.serialLog, 0, 4 * SERIAL_LOG_KEPT_BYTES);
  await trimLogs(machine);
  await driver.reset('vm');
  await until(async () => {
    const { lengthBytes, read } = await driver.console('vm');
    return Buffer.from(await read(lengthBytes - 5, 5)).toString() === 'ready';
  });
  await driver.stop('vm', { graceMs: 0 });
  await driver.start('vm');
  await until(async () => (await said(driver, 'vm')) === 'ready');
  assert.equal((await driver.console('vm')).startBytes, 0);
});

test('where nothing was said there is nothing to trim', async (t) => {
  const { folder } = await setUp(t);
  const machine = machineFolder(join(folder, 'machines'), 'vm');
  await trimLogs(machine);
  await mkdir(machine.path, { recursive: true });
  await writeFile(machine.serialLog, 'little');
  await trimLogs(machine);
  assert.equal((await stat(machine.serialLog)).size, 6);
});
