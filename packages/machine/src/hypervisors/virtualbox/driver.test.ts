import assert from 'node:assert/strict';
import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { completeMachine } from '../../complete.ts';
import type { MachineDisk } from '../../model.ts';
import { driverContract } from '../driver.contract.testkit.ts';
import { VirtualBoxDriver } from './driver.ts';
import { machineReadable } from './vboxmanage.ts';

async function setUp(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-vb-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const program = join(folder, 'VBoxManage');
  const kit = join(import.meta.dirname, 'vboxmanage.testkit.ts');
  const state = join(folder, 'state.json');
  await writeFile(program, `#!/bin/sh\nexec '${process.execPath}' '${kit}' '${state}' "$@"\n`, {
    mode: 0o755,
  });
  const driver = new VirtualBoxDriver({ folder: join(folder, 'machines'), program });
  return { driver, folder, state };
}

driverContract(
  'VirtualBox',
  { hasGuests: false, hasScreen: true, hasCaptures: false, remembersForce: false, diskFormat: 'vdi' },
  setUp,
);

test('what VirtualBox lacks is refused by its name, and its disks outlive it', async (t) => {
  const { driver, folder, state } = await setUp(t);
  const path = join(folder, 'disk.vdi');
  await writeFile(path, 'a disk');
  const disk: MachineDisk = { role: 'system', device: 'disk', path, format: 'vdi', bus: 'sata' };
  const machine = completeMachine({ name: 'Ship', description: 'a "ship"', disks: [disk] });
  assert.deepEqual(
    (await driver.check(machine)).map(({ field }) => field).filter((field) => field === 'name'),
    ['name'],
  );
  await driver.define('vm', machine);
  const { vm } = JSON.parse(await readFile(state, 'utf8'));
  assert.equal(vm.settings['--description'], 'a "ship"');
  assert.match(vm.settings['--uartmode1'], /^file \/.*serial\.log$/);
  assert.deepEqual(vm.controllers, [{ name: 'SATA', portCount: 1, media: { '0-0': path } }]);
  const unsupported = { code: 'IMAGE_UNSUPPORTED' };
  await assert.rejects(driver.capture('vm'), unsupported);
  await assert.rejects(driver.openConsole('vm'), unsupported);
  await assert.rejects(driver.openScreen('vm'), unsupported);
  const behind = { socketPath: '/none', name: 'none' };
  await assert.rejects(
    driver.define('vm', { ...machine, disks: [{ ...disk, backing: behind }] }),
    unsupported,
  );
  await assert.rejects(driver.define('vm', { ...machine, architecture: 's390x' }), unsupported);
  await driver.undefine('vm');
  await access(path);
  const program = join(folder, 'none');
  await assert.rejects(new VirtualBoxDriver({ folder, program }).list(), {
    code: 'STORE_NOT_FOUND',
    message: /cannot be started/,
  });
});

test('values of showvminfo are read with and without quotes', () => {
  const text = 'name="a "b""\nmemory=512\n"SATA-0-0"="/x=y"\r\n\n';
  assert.deepEqual(
    [...machineReadable(text)],
    [
      ['name', 'a "b"'],
      ['memory', '512'],
      ['SATA-0-0', '/x=y'],
    ],
  );
});
