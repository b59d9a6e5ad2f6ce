import { StoreError } from '@gantry/disk';
import type { MachineStatus } from '../driver.ts';
import { readRecord, writeRecord } from '../records.ts';
import { thaw } from './agent.ts';
import { hasHeldCaptures } from './capture-records.ts';
import { lockFolder } from './folder-lock.ts';
import type { MachineFolder } from './machine-folder.ts';
import { converse } from './monitor.ts';
import { isGoneWithin, killProcess, qemuFailed } from './process.ts';
import type { QmpClient } from './qmp.ts';
import type { RunRecord } from './records.ts';

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
  const record = await readRecord<RunRecord>(folder.run);
  if (state === 'running' && record?.isFrozen === true) await tidied(folder);
  if (state !== 'shutdown') return statusBy(state, record);
  if (record?.phase === 'ended') return statusBy(undefined, record);
  if (!(await tidied(folder))) return { state: 'running', reason: state };
  const after = await lastState(folder);
  return statusBy(after === 'shutdown' ? undefined : after, await readRecord<RunRecord>(folder.run));
}

function statusBy(state: QemuState | undefined, record: RunRecord | undefined): MachineStatus {
  if (state === undefined) {
    const { phase, reason } = record ?? {};
    if (phase === 'running' || reason === 'crashed') return { state: 'crashed' };
    return { state: 'stopped', ...(reason && { reason }) };
  }
  // Started, but not let go: its disks are open, and its guest never ran.
  if (state === 'prelaunch') return { state: 'stopped', reason: state };
  return state === 'running' ? { state } : { state: 'paused', reason: state };
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

/** Does what a process that is gone has left, or what the end of the guest asks for. False while somebody is at it. */
async function tidied(folder: MachineFolder): Promise<boolean> {
  const lock = await lockFolder(folder.lock, { purpose: 'it is looked after', waitMs: 0 }).catch((error) => {
    if (error instanceof StoreError && error.code === 'STORE_REFUSED') return undefined;
    throw error;
  });
  if (lock === undefined) return false;
  try {
    await thawLeft(folder);
    await finish(folder);
    return true;
  } finally {
    await lock.release();
  }
}

/** Lets a guest go on that a process has frozen which is gone; for who holds the lock. */
async function thawLeft(folder: MachineFolder): Promise<void> {
  const record = await readRecord<RunRecord>(folder.run);
  if (record?.isFrozen !== true) return;
  await thaw(folder.agent);
  await writeRecord(folder.run, { ...record, isFrozen: false });
}

/**
 * What comes after a guest that has ended by itself, for who holds the lock: QEMU goes, when no capture needs it any
 * more. Where the guest was to start again and who wanted that is gone, it starts again.
 */
export async function finish(folder: MachineFolder): Promise<void> {
  if ((await qemuState(folder)) !== 'shutdown') return;
  const record = await readRecord<RunRecord>(folder.run);
  if (record?.isRebooting === true) await restart(folder);
  else if (await hasHeldCaptures(folder))
    await writeRecord(folder.run, {
      version: 1,
      phase: 'ended',
      reason: 'guest-shutdown',
    } satisfies RunRecord);
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
export async function quit(folder: MachineFolder, reason: string | undefined): Promise<void> {
  await writeRecord(folder.run, { version: 1, phase: 'ended', reason } satisfies RunRecord);
  // It may be gone before it has answered.
  await converse(folder.qmp, (qmp) => qmp.execute('quit')).catch(() => {});
  if (await isGoneWithin(folder, QUIT_MS)) return;
  await killProcess(folder);
  if (!(await isGoneWithin(folder, KILL_MS))) throw qemuFailed(folder.path, 'its process does not end');
}
