import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { completeMachine } from '../../complete.ts';
import { driverContract } from '../driver.contract.testkit.ts';
import { LibvirtDriver } from './driver.ts';
import { privateLibvirt } from './libvirt.testkit.ts';

// One for all: it looks at QEMU for seconds when it starts.
const libvirt = privateLibvirt();
after(async () => (await libvirt).end());

driverContract(
  'libvirt',
  { hasGuests: true, hasScreen: true, hasCaptures: true, remembersForce: true, diskFormat: 'raw' },
  async (t) => {
    const { uri, folder } = await libvirt;
    const driver = new LibvirtDriver({ uri, folder });
    t.after(async () => {
      for (const id of await driver.list()) await driver.undefine(id);
    });
    return { driver, folder };
  },
);

test('what a connection lacks is refused by its name', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-lv-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const driver = new LibvirtDriver({ uri: 'test:///default' });
  assert.deepEqual(await driver.list(), ['test']);
  assert.equal((await driver.status('test')).state, 'running');
  await assert.rejects(driver.console('test'), { code: 'IMAGE_UNSUPPORTED', message: /without a folder/ });
  const withFolder = new LibvirtDriver({ uri: 'test:///default', folder });
  const request = { captureId: 'one', reboot: false, graceMs: 0 };
  await assert.rejects(withFolder.capture('test', request), {
    code: 'IMAGE_UNSUPPORTED',
    message: /not supported by the connection driver/,
  });
  const machine = completeMachine({ name: 'x' });
  await assert.rejects(driver.check({ ...machine, architecture: 's390x' }), { code: 'IMAGE_UNSUPPORTED' });
  const behind = { socketPath: '/none', name: 'none' };
  await assert.rejects(
    driver.check({
      ...machine,
      disks: [{ role: 'system', device: 'disk', path: '/x', format: 'qcow2', backing: behind }],
    }),
    { code: 'IMAGE_UNSUPPORTED' },
  );
});
