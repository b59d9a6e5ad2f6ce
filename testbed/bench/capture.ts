import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type Capture, completeMachine, type MachineDisk, QemuDriver } from '@gantry/machine';
import {
  COUNTER_DISK_BYTES,
  COUNTER_OFFSET_BYTES,
  type CounterRecord,
  counterDisk,
  readCounter,
} from '../guests/counter-guest.ts';
import { debianDisk } from '../guests/debian-disk.ts';
import type { ServiceProcess } from '../service/service.testkit.ts';
import { serialLogOf } from './launch.ts';
import { upload } from './upload.ts';

export interface GapRow {
  readonly what: string;
  /** How long it took until the point in time was held. */
  readonly seconds: number;
  /** How many rounds of writes the disks are apart: one at most when they are of one moment. */
  readonly roundsApart: number;
  /** The longest time that a round of the guest took until then, captures before included. */
  readonly largestGapMs: number;
}

const LOOK_MS = 10;

/** Captures of a machine whose guest does nothing but write to three disks. */
export async function benchCaptureGap(folder: string, rounds: number): Promise<GapRow[]> {
  const disks = [0, 1, 2].map((index): MachineDisk => {
    const path = join(folder, `counter-${index}.raw`);
    writeFileSync(path, counterDisk());
    return { role: 'user', device: 'disk', path, format: 'raw', bus: 'virtio', bootOrder: index + 1 };
  });
  const driver = new QemuDriver({ folder: join(folder, 'machines') });
  const machine = completeMachine({ name: 'counter', memoryBytes: 64 * 2 ** 20, disks });
  await driver.define('counter', machine);
  await driver.start('counter');
  const rows: GapRow[] = [];
  try {
    while (!readFileSync(join(folder, 'machines/counter/serial.log'), 'latin1').endsWith('counts\n'))
      await pause(LOOK_MS);
    for (let round = 0; round < rounds; round++) {
      const startedMs = performance.now();
      const request = { captureId: `gap-${round}`, reboot: false, graceMs: 0 };
      const capture = await driver.capture('counter', request);
      const seconds = (performance.now() - startedMs) / 1000;
      const counts = await recordsOf(capture);
      await capture.release();
      const numbers = counts.map(({ roundCount }) => roundCount);
      rows.push({
        what: `number ${round + 1}`,
        seconds,
        roundsApart: Math.max(...numbers) - Math.min(...numbers),
        largestGapMs: Math.max(...counts.map(({ largestGapMs }) => largestGapMs)),
      });
    }
  } finally {
    await driver.undefine('counter');
    await driver.close();
  }
  return rows;
}

function recordsOf({ disks }: Capture): Promise<CounterRecord[]> {
  return Promise.all(
    disks.map(async ({ disk }) => {
      const sector = new Uint8Array(512);
      await disk.read(COUNTER_OFFSET_BYTES, sector);
      const record = readCounter(sector);
      if (record === undefined) throw new Error('the guest never wrote to one of its disks');
      return record;
    }),
  );
}

export interface CaptureRow {
  readonly what: string;
  readonly seconds: number;
  /** Blocks of 256 KiB that the vault did not have. */
  readonly newBlocks: number;
  readonly roundsApart: number;
}

type Started = { readonly instance: { readonly id: string }; readonly job: { readonly id: string } };

/** Images of all volumes of an instance whose Linux writes to three disks, into the vault. */
export async function benchCapture(service: ServiceProcess, rounds: number): Promise<CaptureRow[]> {
  upload(service, await debianDisk('count'), 'count.raw');
  const imported = await service.runJob('/images', {
    name: 'count',
    source: { bucket: 'bench', key: 'count.raw' },
  });
  const launch = {
    name: 'count',
    imageId: imported.result?.imageId,
    shapeConfig: { ocpus: 1, memoryInGBs: 1 },
  };
  const { instance, job } = await service.json<Started>('POST', '/instances', 202, launch);
  const { id } = instance;
  await succeeded(service, job.id);
  // From now on its Linux hears of disks that come.
  while (!/guest: counts\r?\n$/.test(serialLogOf(service, id))) await pause(LOOK_MS);
  for (const name of ['second', 'third']) {
    const volume = { name, sizeBytes: COUNTER_DISK_BYTES };
    const { id: volumeId } = await service.json<{ id: string }>('POST', '/volumes', 201, volume);
    await service.runJob(`/instances/${id}/volumes`, { volumeId });
  }
  const rows: CaptureRow[] = [];
  for (let round = 0; rows.length < rounds; round++) {
    const blocksBefore = await blockCount(service);
    const startedMs = performance.now();
    const request = { name: `count-${round}`, allVolumes: true };
    const path = `/instances/${id}/images`;
    const captured = await service.json<Started & { imageIds: string[] }>('POST', path, 202, request);
    await succeeded(service, captured.job.id);
    const seconds = (performance.now() - startedMs) / 1000;
    const counts = await Promise.all(captured.imageIds.map((imageId) => countOf(service, imageId)));
    // A disk that was attached just now has no number yet.
    if (counts.includes(0)) continue;
    rows.push({
      what: `number ${rows.length + 1}`,
      seconds,
      newBlocks: (await blockCount(service)) - blocksBefore,
      roundsApart: Math.max(...counts) - Math.min(...counts),
    });
  }
  const gone = await service.json<{ job: { id: string } }>('DELETE', `/instances/${id}`, 202);
  await succeeded(service, gone.job.id);
  return rows;
}

/** Where the guest writes its number to each disk. */
const COUNT_OFFSET_BYTES = 2047 * 512;

async function countOf(service: ServiceProcess, imageId: string): Promise<number> {
  const range = `bytes=${COUNT_OFFSET_BYTES}-${COUNT_OFFSET_BYTES + 511}`;
  const text = Buffer.from(await service.bytes(`/images/${imageId}/as/raw`, { range })).toString();
  const [, count] = /^gantry count (\d+) /.exec(text) ?? [];
  return Number(count ?? 0);
}

async function blockCount(service: ServiceProcess): Promise<number> {
  return Number((await service.runJob('/vault/check')).result?.blockCount);
}

async function succeeded(service: ServiceProcess, jobId: string): Promise<void> {
  const { state, error } = await service.ended(jobId);
  if (state !== 'succeeded') throw new Error(`${jobId} ${state}: ${error?.message}`);
}
