import { z } from 'zod';
import type { Database } from '../db/database.ts';
import { findImage } from '../db/repositories/images.ts';
import {
  findAnyInstance,
  type InstanceWithState,
  notePower,
  updateInstance,
} from '../db/repositories/instances.ts';
import { hasLiveJob } from '../db/repositories/jobs.ts';
import { attachedVolumes, updateVolume } from '../db/repositories/volumes.ts';
import type { Queries } from '../db/transactions.ts';
import type { JobContext, JobHandler, JobHandlers } from '../jobs/handler.ts';
import { JobCanceled } from '../jobs/interruptions.ts';
import { LastingError } from '../jobs/job-error.ts';
import type { JobLane } from '../jobs/lanes.ts';
import type { JobQueue } from '../jobs/queue.ts';
import type { JsonValue } from '../json.ts';
import { machineOf } from '../machines/instance-machine.ts';
import type { Machines } from '../machines/machines.ts';
import { DomainError } from './errors.ts';
import { noInstance } from './instance.ts';
import { factsOf } from './instance-facts.ts';
import { startInput, stopInput, terminateInput } from './instance-power.ts';
import { releaseVolumes } from './instances.ts';
import { type SeenGuest, seenGuest } from './seen-guest.ts';
import type { Shape } from './shapes.ts';

export interface InstanceJobParts {
  readonly database: Database;
  readonly queue: JobQueue;
  readonly machines: Machines;
  readonly shapes: readonly Shape[];
  readonly wake: () => void;
}

/** Guests that are asked to end take their time: nobody else shall wait for them. */
const POWER_AT_ONCE = 16;

/** What is done to instances, one kind of job each. */
export function instanceLanes(parts: InstanceJobParts, more: JobHandlers): JobLane[] {
  return [
    {
      concurrency: POWER_AT_ONCE,
      handlers: {
        'instance-launch': startHandler(parts),
        'instance-start': startHandler(parts),
        'instance-stop': stopHandler(parts),
        'instance-reset': resetHandler(parts),
        'instance-terminate': terminateHandler(parts),
        ...more,
      },
    },
    { handlers: { 'volume-fill': fillHandler(parts) } },
  ];
}

/** Throws CONFLICT for an instance that was terminated meanwhile. */
export async function requireLive(
  { database }: InstanceJobParts,
  instanceId: string,
): Promise<InstanceWithState> {
  const row = await findAnyInstance(database.kysely, instanceId);
  if (row === undefined) throw noInstance(instanceId);
  if (row.deleted_at_ms === null) return row;
  throw new DomainError('CONFLICT', `the instance ${instanceId} is terminated`);
}

function startHandler(parts: InstanceJobParts): JobHandler {
  return async (context) => {
    const { instanceId, copies = false } = startInput.parse(context.input);
    const row = await requireLive(parts, instanceId);
    const { driver, watch } = parts.machines.require();
    try {
      await context.phase('check');
      await tellDoubts(parts, context, row);
      await makeVolumes(parts, context, row, copies);
      await context.phase('start');
      await bringUp(parts, context, row);
    } catch (error) {
      // The job's user wants it no more: nothing of it goes on.
      if (context.signal.reason instanceof JobCanceled && (await driver.list()).includes(instanceId))
        await driver.stop(instanceId, { graceMs: 0 });
      throw error;
    } finally {
      if ((await driver.list()).includes(instanceId)) await watch.watch(instanceId);
    }
    fillAfterwards(parts, context, row);
    return { instanceId };
  };
}

/** What the disk says against the machine that it is to start. */
async function tellDoubts(
  { database }: InstanceJobParts,
  context: JobContext,
  row: InstanceWithState,
): Promise<void> {
  const image = await findImage(database.kysely, row.tenancy_id, row.image_id ?? '');
  const seen = seenGuest(image);
  if (seen === undefined) return;
  for (const doubt of doubtsOf(seen, row)) context.log('warning', doubt);
}

function doubtsOf({ boots, warnings }: SeenGuest, { image_id: imageId }: InstanceWithState): string[] {
  const nothing = `nothing that a firmware would start was found on the disk of ${imageId}`;
  return boots === 'no' ? [nothing, ...warnings] : [...warnings];
}

/** Gives each of the instance's volumes a file. */
async function makeVolumes(
  { database, machines }: InstanceJobParts,
  context: JobContext,
  row: InstanceWithState,
  copies: boolean,
): Promise<void> {
  const attached = await attachedVolumes(database.kysely, row.id);
  if (attached.length === 0)
    throw new DomainError('CONFLICT', `the instance ${row.id} has no volume to start from`);
  const totalBytes = attached.reduce((sum, { volume }) => sum + volume.size_bytes, 0);
  await (copies ? context.phase('copy', totalBytes) : context.phase('volumes'));
  let doneBytes = 0;
  for (const { volume } of attached) {
    const onProgress = (bytes: number) => context.progress(doneBytes + bytes);
    if (copies) await machines.files.copy(volume, onProgress, context.signal);
    else await machines.files.make(volume);
    doneBytes += volume.size_bytes;
  }
}

/** Lets the hypervisor know the machine as it is from its next start on. */
export async function defineMachine(parts: InstanceJobParts, row: InstanceWithState): Promise<void> {
  const { database, machines } = parts;
  const volumes = (await attachedVolumes(database.kysely, row.id)).map(({ volume }) => volume);
  const image = await findImage(database.kysely, row.tenancy_id, row.image_id ?? '');
  const machine = machineOf(factsOf(parts, row, volumes, image));
  await machines.require().driver.define(row.id, machine);
}

/** Nothing changes when it runs already, for an attempt before. */
async function bringUp(parts: InstanceJobParts, context: JobContext, row: InstanceWithState): Promise<void> {
  const { driver } = parts.machines.require();
  const { id } = row;
  const isKnown = (await driver.list()).includes(id);
  const state = isKnown ? (await driver.status(id)).state : 'stopped';
  if (state !== 'running' && state !== 'paused') await defineMachine(parts, row);
  try {
    await driver.start(id, context.signal);
  } catch (error) {
    // What QEMU says against a machine it says again: whoever wants it starts it anew.
    throw new LastingError(error);
  }
  context.log('info', `${driver.kind} runs it: ${row.cpu_count} CPUs, ${row.memory_bytes} bytes of memory`);
}

/** What still shows through from the vault is copied while the instance runs, by a job of its own. */
export function fillAfterwards(
  { queue, wake }: InstanceJobParts,
  context: JobContext,
  row: InstanceWithState,
): void {
  context.atSuccess(async (transaction) => {
    const attached = await attachedVolumes(transaction, row.id);
    if (!attached.some(({ volume }) => volume.file_state === 'overlay')) return;
    if (await hasLiveJob(transaction, row.id, 'volume-fill')) return;
    await queue.create(
      {
        tenancyId: row.tenancy_id,
        userId: context.job.userId,
        kind: 'volume-fill',
        compartmentId: row.compartment_id,
        resources: [{ resourceId: row.id, entityType: 'instance', action: 'related' }],
        input: { instanceId: row.id },
      },
      transaction,
    );
  });
  context.afterSuccess(async () => wake());
}

function stopHandler({ machines, ...parts }: InstanceJobParts): JobHandler {
  return async (context) => {
    const { instanceId, graceMs } = stopInput.parse(context.input);
    await requireLive({ machines, ...parts }, instanceId);
    const { driver, watch } = machines.require();
    await context.phase('stop');
    try {
      const end = await driver.stop(instanceId, { graceMs, signal: context.signal });
      const isForced = graceMs > 0 && end === 'forced';
      context.log(
        isForced ? 'warning' : 'info',
        isForced
          ? `the guest did not end within ${graceMs / 1000} s: it was ended, and its disks are as after a loss of power`
          : `it ended: ${end}`,
      );
      return { instanceId, end };
    } finally {
      await watch.look(instanceId);
    }
  };
}

const resetCheckpoint = z.object({ isReset: z.literal(true) });

function resetHandler(parts: InstanceJobParts): JobHandler {
  return async (context) => {
    const { instanceId, graceMs } = stopInput.parse(context.input);
    const row = await requireLive(parts, instanceId);
    const { driver, watch } = parts.machines.require();
    await context.phase('reset');
    try {
      if (graceMs === 0) {
        if (!resetCheckpoint.safeParse(context.checkpoint).success) {
          await driver.reset(instanceId);
          await context.saveCheckpoint({ isReset: true });
        }
        return { instanceId };
      }
      const end = await driver.stop(instanceId, { graceMs, signal: context.signal });
      context.log(end === 'forced' ? 'warning' : 'info', `it ended: ${end}`);
      await driver.start(instanceId, context.signal);
    } finally {
      await watch.look(instanceId);
    }
    fillAfterwards(parts, context, row);
    return { instanceId };
  };
}

function terminateHandler(parts: InstanceJobParts): JobHandler {
  return async (context): Promise<JsonValue> => {
    const { instanceId, keepsBootVolume } = terminateInput.parse(context.input);
    const { machines, database } = parts;
    const row = await findAnyInstance(database.kysely, instanceId);
    if (row === undefined || row.deleted_at_ms !== null) return { instanceId };
    const { driver, watch } = machines.require();
    await context.phase('stop');
    await driver.undefine(instanceId);
    watch.forget(instanceId);
    // So it is from now on, also when the job is canceled before its end.
    await notePower(database.kysely, instanceId, { power_state: 'STOPPED', power_reason: null });
    await context.phase('volumes');
    const removed: string[] = [];
    context.atSuccess(async (transaction) => {
      const nowMs = Date.now();
      removed.push(...(await releaseVolumes(transaction, instanceId, nowMs, keepsBootVolume)));
      await updateInstance(transaction, instanceId, {
        deleted_at_ms: nowMs,
        power_state: 'STOPPED',
        power_reason: null,
      });
    });
    // A kill in between leaves files of deleted volumes, which the next start removes.
    context.afterSuccess(async () => {
      for (const id of removed) await machines.files.remove(id);
    });
    context.log('info', keepsBootVolume ? 'the boot volume is kept' : 'the boot volume goes with it');
    return { instanceId };
  };
}

/** Makes the volumes of an instance that runs independent of the vault. One that stops goes on after its next start. */
function fillHandler(parts: InstanceJobParts): JobHandler {
  const { machines, database } = parts;
  const isRunning = async (id: string) => {
    const { driver } = machines.require();
    if (!(await driver.list()).includes(id)) return false;
    const { state } = await driver.status(id);
    return state === 'running' || state === 'paused';
  };
  return async (context) => {
    const { instanceId } = startInput.parse(context.input);
    const { driver } = machines.require();
    const ended = () => {
      context.log('info', 'the instance has stopped: what is left is filled after its next start');
      return { instanceId, filled: [] };
    };
    const row = await findAnyInstance(database.kysely, instanceId);
    if (row === undefined || row.deleted_at_ms !== null || !(await isRunning(instanceId))) return ended();
    const before = await attachedVolumes(database.kysely, instanceId);
    const overlays = before.filter(({ volume }) => volume.file_state === 'overlay');
    await context.phase('fill');
    let totalBytes: number | undefined;
    try {
      await driver.materialize(
        instanceId,
        (done, total) => {
          if (totalBytes === undefined && total > 0) {
            totalBytes = total;
            void context.phase('fill', total, done).catch(() => {});
          }
          context.progress(done);
        },
        context.signal,
      );
    } catch (error) {
      if (context.signal.aborted || (await isRunning(instanceId))) throw error;
      return ended();
    }
    const filled: string[] = [];
    context.atSuccess(async (transaction) => {
      for (const { id, volumeId } of await stillAttached(transaction, instanceId)) {
        // One that was taken out and put in again meanwhile is not known to be whole.
        if (!overlays.some(({ attachment }) => attachment.id === id)) continue;
        await updateVolume(transaction, volumeId, { file_state: 'whole', manifest_id: null });
        filled.push(volumeId);
      }
    });
    context.afterSuccess(async () => {
      for (const volumeId of filled) await machines.files.release(volumeId);
    });
    return { instanceId, filled: overlays.map(({ volume }) => volume.id) };
  };
}

async function stillAttached(
  transaction: Queries,
  instanceId: string,
): Promise<readonly { readonly id: string; readonly volumeId: string }[]> {
  const attached = await attachedVolumes(transaction, instanceId);
  return attached.map(({ attachment, volume }) => ({ id: attachment.id, volumeId: volume.id }));
}
