import { setTimeout as delay } from 'node:timers/promises';
import { StoreError } from '@gantry/disk';
import type { BackedDisk } from '../driver.ts';
import { imageSizes } from './capture-nodes.ts';
import { isDelta } from './delta.ts';
import { diskName, diskNodes } from './disk-nodes.ts';
import { nodeNames, removeNode } from './disks.ts';
import type { MachineFolder } from './machine-folder.ts';
import { converse } from './monitor.ts';
import type { QmpClient } from './qmp.ts';

const POLL_MS = 20;

/** A job of QEMU's block layer. */
interface Job {
  /** Its id. */
  readonly device: string;
  readonly offset: number;
  readonly len: number;
  readonly 'io-status': 'ok' | 'failed' | 'nospace';
}

/** How far the filling of one disk is. */
export interface FillState {
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** `begun`: no job was there, and one was started. */
  readonly state: 'begun' | 'filling' | 'whole';
}

/**
 * Has QEMU fill the image of a disk with what shows through, and says how far that is; the job is QEMU's, and goes on
 * without whoever asked for it. The job goes when it has ended: QEMU 7.2 falls over one that is kept when its nodes are
 * listed. What it leaves is seen in the image, which names no backing file when it is whole.
 */
export async function fill(qmp: QmpClient, disk: BackedDisk): Promise<FillState> {
  const nodes = diskNodes(disk);
  const job = await jobNamed(qmp, jobId(disk));
  if (job !== undefined) {
    if (job['io-status'] !== 'ok') await failed(qmp, disk, job);
    return { doneBytes: job.offset, totalBytes: job.len, state: 'filling' };
  }
  const totalBytes = (await imageSizes(qmp)).get(nodes.image) ?? 0;
  // Looked at after the job: it ends when the image is whole.
  if (await isDelta(disk.path ?? '')) {
    // One that fails waits, so that it can be asked why.
    await qmp.execute('block-stream', { 'job-id': jobId(disk), device: nodes.image, 'on-error': 'stop' });
    return { doneBytes: 0, totalBytes, state: 'begun' };
  }
  if ((await nodeNames(qmp)).has(nodes.backing)) await removeNode(qmp, nodes.backing);
  return { doneBytes: totalBytes, totalBytes, state: 'whole' };
}

async function failed(qmp: QmpClient, disk: BackedDisk, job: Job): Promise<never> {
  await qmp.execute('block-job-cancel', { device: job.device }).catch(() => {});
  const where = disk.path ?? '';
  if (job['io-status'] === 'nospace')
    throw new StoreError('STORE_FULL', `there is no room to fill ${where}`, {
      where,
      hint: 'make room where the image is, and try again: what is filled stays so',
    });
  throw new StoreError('STORE_IO', `QEMU fails to fill ${where}`, {
    where,
    hint: 'try again: what is filled stays so',
  });
}

/** Ends the filling; what is filled stays so. */
export async function endFill(folder: MachineFolder, disk: BackedDisk): Promise<void> {
  const id = jobId(disk);
  await converse(folder.qmp, async (qmp) => {
    await qmp.execute('block-job-cancel', { device: id }).catch(() => {});
    while ((await jobNamed(qmp, id)) !== undefined) await delay(POLL_MS);
  });
}

async function jobNamed(qmp: QmpClient, id: string): Promise<Job | undefined> {
  const jobs = (await qmp.execute('query-block-jobs')) as unknown as readonly Job[];
  return jobs.find(({ device }) => device === id);
}

function jobId({ path = '' }: BackedDisk): string {
  return `fill-${diskName(path)}`;
}
