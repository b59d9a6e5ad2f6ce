import assert from 'node:assert/strict';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { DiskBus, MachineDisk } from '@gantry/machine';
import {
  COUNTER_DISK_BYTES,
  COUNTER_OFFSET_BYTES,
  type CounterRecord,
  counterDisk,
  readCounter,
} from './counter-guest.ts';
import { GUARD, guestMachine, startGuest } from './running-guest.testkit.ts';

/** Three disks, the first one with the guest. */
async function disks(t: TestContext, bus: DiskBus): Promise<MachineDisk[]> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-counter-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const contents = [counterDisk(), new Uint8Array(COUNTER_DISK_BYTES), new Uint8Array(COUNTER_DISK_BYTES)];
  return Promise.all(
    contents.map(async (content, index) => {
      const path = join(folder, `${index}.raw`);
      await writeFile(path, content);
      return { role: index === 0 ? 'system' : 'user', device: 'disk', path, format: 'raw', bus } as const;
    }),
  );
}

async function recordOn({ path = '' }: MachineDisk): Promise<CounterRecord | undefined> {
  const file = await open(path);
  try {
    const { buffer } = await file.read(Buffer.alloc(512), 0, 512, COUNTER_OFFSET_BYTES);
    return readCounter(buffer);
  } finally {
    await file.close();
  }
}

for (const bus of ['ide', 'virtio'] as const) {
  test(`the guest counts on three disks of ${bus} until the power button is pressed`, GUARD, async (t) => {
    const attached = await disks(t, bus);
    assert.equal(await recordOn(attached[0]!), undefined);
    const guest = await startGuest(t, guestMachine(attached, { memoryBytes: 32 * 2 ** 20 }));
    assert.equal((await guest.said(/^G.*\n/))[0], 'G counts\n');
    const early = await recordOn(attached[2]!);
    // It goes on by itself.
    while ((await recordOn(attached[2]!))!.roundCount < early!.roundCount + 100);
    await guest.running.qmp.execute('system_powerdown');
    assert.deepEqual(await guest.ended(), { text: 'G counts\n', end: { reason: 'guest-shutdown' } });

    const records = await Promise.all(attached.map(recordOn));
    const [first] = records;
    assert.ok(first !== undefined && first.roundCount > 100);
    // It was switched off between two rounds.
    for (const [index, record] of records.entries()) assert.deepEqual(record, { ...first, diskIndex: index });
    assert.ok(first.ticksPerSecond > 0 && first.largestGapMs > 0, JSON.stringify(first.largestGapMs));
    assert.ok(first.largestGapTicks < first.ticks);
  });
}

test(
  'disks of one moment hold counts that are one apart at most, and the later disks the smaller',
  GUARD,
  async (t) => {
    const attached = await disks(t, 'virtio');
    const guest = await startGuest(t, guestMachine(attached, { memoryBytes: 32 * 2 ** 20 }));
    assert.equal((await guest.said(/^G.*\n/))[0], 'G counts\n');
    const { qmp } = guest.running;
    for (let moment = 0; moment < 5; moment++) {
      await qmp.execute('stop');
      const counts = (await Promise.all(attached.map(recordOn))).map((record) => record!.roundCount);
      const [first = 0, second = 0, third = 0] = counts;
      assert.ok(first >= second && second >= third && third >= first - 1, counts.join());
      await qmp.execute('cont');
    }
  },
);
