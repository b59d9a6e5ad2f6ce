import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { bootDisk, machineOf, setUp } from './driver.testkit.ts';

test('whenever a process is killed, the next one takes the machine on', async (t) => {
  const { folder, driver } = await setUp(t);
  const definition = join(folder, 'machine.json');
  const machine = machineOf([await bootDisk(join(folder, 'disk.raw'), 'up;', 'nothing')]);
  await writeFile(definition, JSON.stringify(machine));
  const program = join(import.meta.dirname, 'life-child.testkit.ts');
  const args = ['--conditions=source', program, join(folder, 'machines'), 'vm', definition];
  for (let round = 0; round < 6; round++) {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    // Anywhere: what is asked below holds at any moment.
    await delay(Math.random() * 400);
    child.kill('SIGKILL');
    await once(child, 'exit');
    if (!(await driver.list()).includes('vm')) await driver.define('vm', machine);
    const { state } = await driver.status('vm');
    assert.ok(['running', 'stopped', 'crashed'].includes(state), state);
    assert.notEqual(state, 'crashed');
    await driver.start('vm');
    assert.deepEqual(await driver.status('vm'), { state: 'running' });
    const capture = await driver.capture('vm', { captureId: 'one', reboot: false, graceMs: 0 });
    await capture.disks[0]!.disk.read(0, new Uint8Array(512));
    await capture.release();
    for (const id of await driver.captures('vm')) await driver.releaseCapture('vm', id);
    assert.equal(await driver.stop('vm', { graceMs: 0 }), 'forced');
    assert.equal((await driver.status('vm')).state, 'stopped');
    if (round % 3 === 0) await driver.undefine('vm');
  }
});
