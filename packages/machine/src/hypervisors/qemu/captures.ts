import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { convert, fileSink, ImageError, nbdAddressText, openNbd, StoreError } from '@gantry/disk';
import { emptyDisk } from '../../host/disk-files.ts';
import type { MachineDisk } from '../../model.ts';
import type { BackedDisk, Capture, CaptureRequest, Consistency, DefinedMachine } from '../driver.ts';
import { readRecord, writeRecord } from '../records.ts';
import { whileFrozen } from './agent.ts';
import {
  addExports,
  addFilter,
  type CaptureNodes,
  captureNodes,
  freeSlot,
  imageSizes,
  insertFilters,
  isWritten,
  removeCapture,
} from './capture-nodes.ts';
import { type CaptureFolder, type CaptureRecord, captureFolder } from './capture-records.ts';
import { diskNodes } from './disk-nodes.ts';
import { nodeNames } from './disks.ts';
import { type FolderLock, lockFolder } from './folder-lock.ts';
import type { MachineFolder } from './machine-folder.ts';
import { converse } from './monitor.ts';
import { askToEnd } from './power.ts';
import type { QmpClient } from './qmp.ts';
import type { DefinitionRecord, RunRecord } from './records.ts';
import { finish, qemuState, restart } from './run-state.ts';
import { type OpenedDisk, openStopped } from './stopped-disks.ts';

/** A disk that is captured, with its position. */
interface Captured {
  readonly index: number;
  readonly disk: BackedDisk;
}

/** As `HypervisorDriver.capture`, for a machine that is defined. */
export async function capture(folder: MachineFolder, request: CaptureRequest): Promise<Capture> {
  const place = captureFolder(folder, request.captureId);
  for (;;) {
    request.signal?.throwIfAborted();
    const isStopped = (await qemuState(folder)) === undefined;
    const lock = await lockFolder(folder.lock, {
      purpose: 'its disks are being captured',
      isShared: isStopped,
      signal: request.signal,
    });
    let isKept = false;
    try {
      // It may have been started, or have ended, meanwhile.
      if (((await qemuState(folder)) === undefined) !== isStopped) continue;
      const captured = capturedDisks(await machineIn(folder), request.disks);
      if (!isStopped) return await captureRunning(folder, place, captured, request);
      const held = await captureStopped(folder, place, captured, request, lock);
      isKept = true;
      return held;
    } finally {
      if (!isKept) await lock.release();
    }
  }
}

/** Lets go of a capture that nobody reads any more, whoever has taken it. Nothing to do when there is none. */
export async function releaseCapture(folder: MachineFolder, captureId: string): Promise<void> {
  const place = captureFolder(folder, captureId);
  if ((await qemuState(folder)) === undefined) {
    await rm(place.path, { recursive: true, force: true });
    return;
  }
  const lock = await lockFolder(folder.lock, { purpose: 'a capture is being released' });
  try {
    await removeHeld(folder, place);
    // A guest that has ended meanwhile was kept for it.
    await finish(folder);
  } finally {
    await lock.release();
  }
}

async function machineIn(folder: MachineFolder): Promise<DefinedMachine> {
  const record = await readRecord<DefinitionRecord>(folder.definition);
  if (record !== undefined) return record.machine;
  throw new StoreError('STORE_NOT_FOUND', 'the machine was undefined meanwhile', { where: folder.path });
}

/** The disks that are asked for, or all that have an image. Throws IMAGE_OPTION. */
function capturedDisks(machine: DefinedMachine, wanted: readonly number[] | undefined): Captured[] {
  const positions =
    wanted ??
    machine.disks.flatMap(({ device, path }, index) =>
      device === 'disk' && path !== undefined ? [index] : [],
    );
  return positions.map((index) => {
    const disk = machine.disks[index];
    if (disk?.path !== undefined) return { index, disk };
    throw new ImageError('IMAGE_OPTION', `there is no disk ${index} with an image`, {
      structure: 'capture disks',
      hint: `the machine has ${machine.disks.length} disks and drives, counted from 0`,
    });
  });
}

/** Nothing can change what a machine that does not run has on its disks while the lock is held. */
async function captureStopped(
  folder: MachineFolder,
  place: CaptureFolder,
  captured: readonly Captured[],
  { captureId, signal }: CaptureRequest,
  lock: FolderLock,
): Promise<Capture> {
  const before = await readRecord<CaptureRecord>(place.record).catch(() => undefined);
  const { phase, reason } = (await readRecord<RunRecord>(folder.run)) ?? {};
  const isTorn = phase === 'running' || reason === 'forced' || reason === 'crashed';
  // Since then it was not started: that removes the records.
  const takenAtMs = (before?.slot === undefined ? before?.takenAtMs : undefined) ?? Date.now();
  const consistency: Consistency = isTorn ? 'crash' : 'shutdown';
  const opened: OpenedDisk[] = [];
  const close = async () => {
    for (const disk of opened) await disk.close();
  };
  try {
    for (const { disk } of captured) opened.push(await openStopped(disk, signal));
    await mkdir(place.path, { recursive: true });
    const disks = captured.map(({ index, disk }) => ({ index, disk: withoutBacking(disk) }));
    const record: CaptureRecord = { version: 1, captureId, disks, takenAtMs, consistency };
    await writeRecord(place.record, record);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    takenAtMs,
    consistency,
    disks: opened.map(({ disk }, at) => ({ index: captured[at]?.index ?? at, disk })),
    release: once(async () => {
      await close();
      await rm(place.path, { recursive: true, force: true });
      await lock.release();
    }),
  };
}

/** For who holds the lock. */
async function captureRunning(
  folder: MachineFolder,
  place: CaptureFolder,
  captured: readonly Captured[],
  request: CaptureRequest,
): Promise<Capture> {
  const held = await readRecord<CaptureRecord>(place.record).catch(() => undefined);
  if (held?.takenAtMs !== undefined && held.slot !== undefined) {
    const adopted = await opened(folder, held).catch(() => undefined);
    if (adopted !== undefined) return adopted;
  }
  await removeHeld(folder, place);
  try {
    return await opened(folder, await taken(folder, place, captured, request));
  } catch (error) {
    await removeHeld(folder, place).catch(() => {});
    throw error;
  }
}

/** Makes all ready, takes the point in time, and records it. */
async function taken(
  folder: MachineFolder,
  place: CaptureFolder,
  captured: readonly Captured[],
  request: CaptureRequest,
): Promise<CaptureRecord> {
  await mkdir(place.path, { recursive: true, mode: 0o700 });
  const { slot, sizes } = await asked(folder, async (qmp) => ({
    slot: await freeSlot(
      qmp,
      captured.map(({ disk }) => disk),
    ),
    sizes: await imageSizes(qmp),
  }));
  const record: CaptureRecord = {
    version: 1,
    captureId: request.captureId,
    slot,
    disks: captured.map(({ index, disk }) => ({ index, disk: withoutBacking(disk) })),
  };
  await writeRecord(place.record, record);
  const nodes = nodesIn(record, slot);
  const files: string[] = [];
  for (const each of nodes) {
    const file = join(place.path, `${files.length}.qcow2`);
    files.push(file);
    const sizeBytes = sizes.get(diskNodes(each.disk).image) ?? 0;
    if (isWritten(each)) await convert(emptyDisk(sizeBytes), await fileSink(file), { format: 'qcow2' });
  }
  await asked(folder, async (qmp) => {
    for (const [at, each] of nodes.entries())
      if (isWritten(each)) await addFilter(qmp, each, files[at] ?? '');
  });
  const consistency = await atPointInTime(folder, request, () =>
    asked(folder, (qmp) => insertFilters(qmp, nodes)),
  );
  const complete = { ...record, takenAtMs: Date.now(), consistency };
  await writeRecord(place.record, complete);
  return complete;
}

/** Runs what takes the point in time, with the guest as quiet as was asked for. */
async function atPointInTime(
  folder: MachineFolder,
  { reboot, graceMs, signal }: CaptureRequest,
  take: () => Promise<void>,
): Promise<Consistency> {
  const state = await qemuState(folder);
  const run = (await readRecord<RunRecord>(folder.run)) ?? { version: 1, phase: 'running' };
  if (state === 'shutdown' || state === 'prelaunch') {
    await take();
    return state === 'prelaunch' && (run.reason === 'forced' || run.reason === 'crashed')
      ? 'crash'
      : 'shutdown';
  }
  if (state === 'running' && reboot) return afterReboot(folder, graceMs, signal, take);
  if (state === 'running' && (await hasAgent(folder))) {
    await writeRecord(folder.run, { ...run, isFrozen: true });
    try {
      const frozen = await whileFrozen(folder.agent, take);
      if (frozen !== undefined) return frozen.isFrozen ? 'agent' : 'crash';
    } finally {
      await writeRecord(folder.run, run);
    }
  }
  await take();
  return 'crash';
}

/** Whether a program in the guest has opened the port that is for its agent. */
async function hasAgent(folder: MachineFolder): Promise<boolean> {
  const chardevs = await asked(folder, (qmp) => qmp.execute('query-chardev'));
  const ports = chardevs as readonly { readonly label: string; readonly 'frontend-open': boolean }[];
  return ports.some((port) => port.label === 'agent0' && port['frontend-open']);
}

async function afterReboot(
  folder: MachineFolder,
  graceMs: number,
  signal: AbortSignal | undefined,
  take: () => Promise<void>,
): Promise<Consistency> {
  await writeRecord(folder.run, { version: 1, phase: 'running', isRebooting: true } satisfies RunRecord);
  const state = await askToEnd(folder, graceMs, signal);
  await take();
  // In the same QEMU, whether it has ended or not.
  await restart(folder);
  return state === 'shutdown' ? 'shutdown' : 'crash';
}

/** The capture of a record, to be read. Throws when QEMU does not hold it any more. */
async function opened(folder: MachineFolder, record: CaptureRecord): Promise<Capture> {
  const { slot, takenAtMs = 0, consistency = 'crash', disks, captureId } = record;
  const nodes = nodesIn(record, slot ?? 0);
  await asked(folder, async (qmp) => {
    const present = await nodeNames(qmp);
    const gone = nodes.find((each) => isWritten(each) && !present.has(each.filter));
    if (gone !== undefined)
      throw new StoreError('STORE_CHANGED', 'the capture is gone', { where: captureId });
    await addExports(qmp, nodes, folder.nbd);
  });
  const socket = { kind: 'unix', path: folder.nbd } as const;
  const open: Capture['disks'][number][] = [];
  const close = async () => {
    for (const { disk } of open) await disk.close();
  };
  try {
    for (const [at, { exportName }] of nodes.entries()) {
      const disk = await openNbd(nbdAddressText({ socket, exportName }));
      open.push({ index: disks[at]?.index ?? at, disk });
      // One whose file could not grow gives nothing any more.
      await disk.read(0, new Uint8Array(Math.min(512, disk.virtualSizeBytes)));
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    takenAtMs,
    consistency,
    disks: open,
    release: once(async () => {
      await close();
      await releaseCapture(folder, captureId);
    }),
  };
}

function nodesIn({ captureId, disks }: CaptureRecord, slot: number): CaptureNodes[] {
  return disks.map(({ disk }) => captureNodes(disk, slot, captureId));
}

/** Takes away all that a capture has, in QEMU and in its folder; for who holds the lock. */
async function removeHeld(folder: MachineFolder, place: CaptureFolder): Promise<void> {
  const record = await readRecord<CaptureRecord>(place.record).catch(() => undefined);
  if (record?.slot !== undefined) {
    const nodes = nodesIn(record, record.slot);
    await converse(folder.qmp, (qmp) => removeCapture(qmp, nodes));
  }
  await rm(place.path, { recursive: true, force: true });
}

async function asked<Result>(
  folder: MachineFolder,
  task: (qmp: QmpClient) => Promise<Result>,
): Promise<Result> {
  const answer = await converse(folder.qmp, async (qmp) => ({ value: await task(qmp) }));
  if (answer !== undefined) return answer.value;
  throw new StoreError('STORE_IO', 'QEMU ended while a capture was taken', {
    where: folder.path,
    hint: 'capture it again: its disks are read as they are now',
  });
}

function withoutBacking({ backing: _, ...disk }: BackedDisk): MachineDisk {
  return disk;
}

function once(task: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => {
    running ??= task();
    return running;
  };
}
