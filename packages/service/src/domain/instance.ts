import type { LaunchOptions } from '@gantry/machine';
import {
  findAnyInstance,
  type InstanceState,
  type InstanceWithState,
  instanceStates,
} from '../db/repositories/instances.ts';
import type { InstanceRow } from '../db/schema.ts';
import type { Queries } from '../db/transactions.ts';
import { DomainError } from './errors.ts';
import type { Shape, ShapeConfig } from './shapes.ts';
import { type Tags, tagsOf } from './tags.ts';
import { etagOfVersion } from './versions.ts';

/** In the words of OCI. */
export const instanceStateNames: typeof instanceStates = instanceStates;

/** A virtual machine that was launched of an image or a boot volume. */
export interface Instance {
  readonly id: string;
  readonly compartmentId: string;
  readonly name: string;
  readonly availabilityDomain: string;
  readonly shape: string;
  readonly shapeConfig: ShapeConfig;
  readonly cpuCount: number;
  readonly memoryBytes: number;
  readonly imageId: string | undefined;
  readonly state: InstanceState;
  /** Why it has the power that it has: `guest-shutdown`, `crashed: …`. */
  readonly stateReason: string | undefined;
  /** The job that works on it now. */
  readonly jobId: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly launchMode: string | undefined;
  readonly launchOptions: LaunchOptions | undefined;
  readonly tags: Tags;
  readonly etag: string;
  readonly createdAtMs: number;
}

export function toInstance(row: InstanceWithState): Instance {
  return {
    id: row.id,
    compartmentId: row.compartment_id,
    name: row.name,
    availabilityDomain: row.availability_domain,
    shape: row.shape,
    shapeConfig: JSON.parse(row.shape_config_json ?? '{"ocpus":1,"memoryInGBs":1}'),
    cpuCount: row.cpu_count,
    memoryBytes: row.memory_bytes,
    imageId: row.image_id ?? undefined,
    state: row.state,
    stateReason: row.power_reason ?? undefined,
    jobId: row.busy_job_id ?? undefined,
    metadata: JSON.parse(row.metadata_json),
    launchMode: row.launch_mode ?? undefined,
    launchOptions: row.launch_options_json === null ? undefined : JSON.parse(row.launch_options_json),
    tags: tagsOf(row),
    etag: etagOfVersion(row.version),
    createdAtMs: row.created_at_ms,
  };
}

/** As it is within this transaction. */
export async function currentInstance(transaction: Queries, id: string): Promise<Instance> {
  const row = await findAnyInstance(transaction, id);
  if (row === undefined) throw noInstance(id);
  return toInstance(row);
}

export function noInstance(id: string): DomainError {
  return new DomainError('NOT_FOUND', `there is no instance ${id}`);
}

/** Throws CONFLICT while a job has the instance to itself. */
export function requireIdle({ id, busy_job_id: jobId, state }: InstanceWithState): void {
  if (jobId === null) return;
  throw new DomainError('CONFLICT', `the instance ${id} is ${state}: the job ${jobId} works on it`, {
    hint: 'wait for that job, or cancel it',
  });
}

/** What the instance takes of the host. An OCPU is a core: two threads on x86_64, one on aarch64. */
export function hostShareOf(
  { architecture }: Shape,
  { ocpus, memoryInGBs }: ShapeConfig,
): Pick<InstanceRow, 'cpu_count' | 'memory_bytes'> {
  const cpus = architecture === 'x86_64' ? 2 * ocpus : ocpus;
  const mebibytes = Math.max(1, Math.floor(memoryInGBs * 1024));
  return { cpu_count: Math.max(1, Math.round(cpus)), memory_bytes: mebibytes * 1024 ** 2 };
}
