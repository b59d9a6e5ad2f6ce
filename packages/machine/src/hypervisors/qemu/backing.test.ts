import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  createOverlay,
  denyReferences,
  diskDigest,
  fileSource,
  type NbdServer,
  openDisk,
  serveNbd,
} from '@gantry/disk';
import type { BackedDisk } from '../driver.ts';
import { bootSector } from './boot-sector.testkit.ts';
import { COUNTER_DISK_BYTES, counterSector } from './counter.testkit.ts';
import { machineOf, said, setUp, until } from './driver.testkit.ts';

interface Served {
  readonly disk: BackedDisk;
  readonly base: Uint8Array;
  serve(): Promise<NbdServer>;
}

/** An empty overlay over a disk that is served by NBD, and not elsewhere. */
async function overlay(t: TestContext, folder: string, sector: Uint8Array): Promise<Served> {
  const base = Buffer.alloc(COUNTER_DISK_BYTES, 'gantry');
  base.set(sector);
  const file = join(folder, 'base');
  await writeFile(file, base);
  const source = await fileSource(file);
  const disk = await openDisk(source, { format: 'raw', references: denyReferences });
  const path = join(folder, 'delta.qcow2');
  await createOverlay(path, disk, {
    digest: await diskDigest(disk),
    backing: { name: 'image', format: undefined },
  });
  const socketPath = join(folder, 'nbd');
  t.after(async () => {
    await disk.close();
    await source.close();
  });
  return {
    base,
    disk: {
      role: 'system',
      device: 'disk',
      path,
      format: 'qcow2',
      bus: 'virtio',
      bootOrder: 1,
      backing: { socketPath, name: 'image' },
    },
    async serve() {
      const server = await serveNbd({
        address: { kind: 'unix', path: socketPath },
        exports: [{ name: 'image', disk }],
      });
      t.after(() => server.close());
      return server;
    },
  };
}

test('a machine starts from what is served, and goes on when its server was away', async (t) => {
  const { folder, driver } = await setUp(t);
  const { disk, serve } = await overlay(t, folder, bootSector('up;', 'nothing'));
  await driver.define('vm', machineOf([disk]));
  const first = await serve();
  await driver.start('vm');
  await until(async () => (await said(driver, 'vm')) === 'up;');
  await first.close();
  // Its reads wait.
  await driver.reset('vm');
  assert.deepEqual(await driver.status('vm'), { state: 'running' });
  await serve();
  await until(async () => (await said(driver, 'vm')) === 'up;up;');
});

test('a disk is filled beside its guest, and needs its server no more', async (t) => {
  const { folder, driver } = await setUp(t);
  const { disk, base, serve } = await overlay(t, folder, bootSector('up;', 'nothing'));
  const server = await serve();
  await driver.define('vm', machineOf([disk]));
  await driver.start('vm');
  const capture = await driver.capture('vm', { captureId: 'one', reboot: false, graceMs: 0 });
  let last = 0;
  await driver.materialize('vm', (doneBytes, totalBytes) => {
    assert.ok(doneBytes <= totalBytes || totalBytes === 0);
    last = doneBytes;
  });
  assert.equal(last, COUNTER_DISK_BYTES);
  const seen = new Uint8Array(COUNTER_DISK_BYTES);
  await capture.disks[0]!.disk.read(0, seen);
  assert.ok(Buffer.from(seen).equals(base));
  await capture.release();
  await server.close();
  await driver.reset('vm');
  await until(async () => (await said(driver, 'vm')) === 'up;up;');
  await driver.stop('vm', { graceMs: 0 });
  const flat = join(folder, 'flat');
  execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', disk.path!, flat]);
  assert.ok((await readFile(flat)).equals(base));
  await driver.start('vm');
});

test('a disk of a stopped machine is filled, captured before and after, and stopped it stays', async (t) => {
  const { folder, driver } = await setUp(t);
  const { disk, base, serve } = await overlay(t, folder, counterSector());
  const server = await serve();
  await driver.define('vm', machineOf([disk]));
  for (const step of ['served', 'filled']) {
    const capture = await driver.capture('vm', { captureId: step, reboot: false, graceMs: 0 });
    const seen = new Uint8Array(COUNTER_DISK_BYTES);
    await capture.disks[0]!.disk.read(0, seen);
    assert.ok(Buffer.from(seen).equals(base), step);
    assert.equal(capture.consistency, 'shutdown');
    await capture.release();
    if (step === 'served') {
      // Given up at its first step, and gone on with.
      const ended = new AbortController();
      await assert.rejects(
        driver.materialize('vm', () => ended.abort(new Error('not now')), ended.signal),
        { message: 'not now' },
      );
      await driver.materialize('vm', () => {});
      await server.close();
    }
    assert.deepEqual(await driver.status('vm'), { state: 'stopped' });
  }
  await driver.start('vm');
});
