import { setTimeout as delay } from 'node:timers/promises';
import { StoreError } from '@gantry/disk';
import type { BackedDisk } from '../driver.ts';
import { diskName, diskNodes } from './disk-nodes.ts';
import { nodeNames, removeNode } from './disks.ts';
import type { MachineFolder } from './machine-folder.ts';
import { converse } from './monitor.ts';
import type { QmpClient } from './qmp.ts';

const POLL_MS = 200;

interface Job {
  readonly device: string;
  readonly len: number;
  readonly offset: number;
  readonly 'io-status': 'ok' | 'failed' | 'nospace';
}

/** How far the filling of one disk is. */
export interface FillState {
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly isDone: boolean;
}

/**
 * Has QEMU fill the image of a disk with what shows through, and says how far that is; the job is QEMU's, and goes on
 * without whoever asked for it. `isNeeded`: the image names a backing file still. Throws STORE_IO when it failed.
 *
 * The job dismisses itself: while a stream is concluded and not dismissed, its filter is among the nodes without a
 * child, and QEMU 7.2 crashes when it is asked for its nodes.
 */
export async function fill(qmp: QmpClient, disk: BackedDisk, isNeeded: boolean): Promise<FillState> {
  const nodes = diskNodes(disk);
  const id = jobId(disk);
  const job = await jobNamed(qmp, id);
  if (job !== undefined) {
    if (job['io-status'] !== 'ok') await failed(qmp, disk, job);
    return { doneBytes: job.offset, totalBytes: job.len, isDone: false };
  }
  if (!isNeeded) {
    if ((await nodeNames(qmp)).has(nodes.backing)) await removeNode(qmp, nodes.backing);
    return { doneBytes: 0, totalBytes: 0, isDone: true };
  }
  // One that fails waits, so that it can be asked why.
  await qmp.execute('block-stream', { 'job-id': id, device: nodes.image, 'on-error': 'stop' });
  return { doneBytes: 0, totalBytes: 0, isDone: false };
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
    for (let job = await jobNamed(qmp, id); job !== undefined; job = await jobNamed(qmp, id)) {
      await delay(POLL_MS);
    }
  });
}

async function jobNamed(qmp: QmpClient, id: string): Promise<Job | undefined> {
  const jobs = (await qmp.execute('query-block-jobs')) as unknown as readonly Job[];
  return jobs.find(({ device }) => device === id);
}

function jobId({ path = '' }: BackedDisk): string {
  return `fill-${diskName(path)}`;
}
