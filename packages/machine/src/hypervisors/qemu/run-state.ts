import { StoreError } from '@gantry/disk';
import type { MachineStatus } from '../driver.ts';
import { lockFolder } from './folder-lock.ts';
import type { MachineFolder } from './machine-folder.ts';
import { converse } from './monitor.ts';
import { isGoneWithin, killProcess, qemuFailed } from './process.ts';
import type { QmpClient } from './qmp.ts';
import { type RunRecord, readRecord, writeRecord } from './records.ts';

/** QEMU's RunState: `prelaunch` until it is told to start, `shutdown` when the guest has ended. */
export type QemuState = string;

/** QEMU's word for what the guest does; undefined when no QEMU is there. */
export async function qemuState(folder: MachineFolder): Promise<QemuState | undefined> {
  return converse(folder.qmp, stateBy);
}

export async function stateBy(qmp: QmpClient): Promise<QemuState> {
  const answer = await qmp.execute('query-status');
  return (answer as { readonly status: string }).status;
}

/** What a machine does, for those who ask from outside. One whose guest has ended is ended. */
export async function statusOf(folder: MachineFolder): Promise<MachineStatus> {
  const state = await lastState(folder);
  if (state === undefined) return recordedStatus(folder);
  // Started, but not let go: its disks are open, and its guest never ran.
  if (state === 'prelaunch') return { state: 'stopped', reason: state };
  if (state === 'running') return { state };
  if (state !== 'shutdown') return { state: 'paused', reason: state };
  return (await hasFinished(folder)) ? statusOf(folder) : { state: 'running', reason: state };
}

/** A QEMU that goes while it is asked is not there. */
async function lastState(folder: MachineFolder): Promise<QemuState | undefined> {
  try {
    return await qemuState(folder);
  } catch (error) {
    if (error instanceof StoreError && (await isGoneWithin(folder, 0))) return undefined;
    throw error;
  }
}

async function recordedStatus({ run }: MachineFolder): Promise<MachineStatus> {
  const { phase, reason } = (await readRecord<RunRecord>(run)) ?? {};
  return phase === 'running' ? { state: 'crashed' } : { state: 'stopped', ...(reason && { reason }) };
}

/** Lets QEMU go whose guest has ended. False while somebody else is at the machine. */
async function hasFinished(folder: MachineFolder): Promise<boolean> {
  const lock = await lockFolder(folder.lock, { purpose: 'its guest has ended', waitMs: 0 }).catch((error) => {
    if (error instanceof StoreError && error.code === 'STORE_REFUSED') return undefined;
    throw error;
  });
  if (lock === undefined) return false;
  try {
    await finish(folder);
    return true;
  } finally {
    await lock.release();
  }
}

/**
 * What comes after a guest that has ended by itself, for who holds the lock: QEMU goes. Where it was to start again and
 * who wanted that is gone, it starts again.
 */
export async function finish(folder: MachineFolder): Promise<void> {
  if ((await qemuState(folder)) !== 'shutdown') return;
  const record = await readRecord<RunRecord>(folder.run);
  if (record?.isRebooting === true) await restart(folder);
  else await quit(folder, 'guest-shutdown');
}

/** Starts a guest again that has ended, in the same QEMU. */
export async function restart(folder: MachineFolder): Promise<void> {
  await converse(folder.qmp, async (qmp) => {
    // Both are on their way before an answer is waited for.
    await Promise.all([qmp.execute('system_reset'), qmp.execute('cont')]);
  });
  await writeRecord(folder.run, { version: 1, phase: 'running' } satisfies RunRecord);
}

/** How long QEMU has to write what its caches hold. */
const QUIT_MS = 30_000;
const KILL_MS = 10_000;

/** Ends QEMU and waits until it is gone; by force when it does not go. The reason is recorded before. */
export async function quit(folder: MachineFolder, reason: string): Promise<void> {
  await writeRecord(folder.run, { version: 1, phase: 'ended', reason } satisfies RunRecord);
  // It may be gone before it has answered.
  await converse(folder.qmp, (qmp) => qmp.execute('quit')).catch(() => {});
  if (await isGoneWithin(folder, QUIT_MS)) return;
  await killProcess(folder);
  if (!(await isGoneWithin(folder, KILL_MS))) throw qemuFailed(folder.path, 'its process does not end');
}
