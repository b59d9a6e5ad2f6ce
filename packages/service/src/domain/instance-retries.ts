import { z } from 'zod';
import { lockInstance } from '../db/repositories/instances.ts';
import { findAttachment } from '../db/repositories/volumes.ts';
import type { GrantVerb } from '../db/schema.ts';
import type { Access } from './access.ts';
import { DomainError } from './errors.ts';
import type { HostQuota } from './host-quota.ts';
import { noInstance, requireIdle } from './instance.ts';
import type { Instances } from './instances.ts';
import type { RetryPermit } from './jobs.ts';

/** Jobs that have an instance to themselves, and what one needs at the instance to have them done. */
const verbs: Readonly<Record<string, GrantVerb>> = {
  'instance-launch': 'manage',
  'instance-start': 'use',
  'instance-stop': 'use',
  'instance-reset': 'use',
  'instance-terminate': 'manage',
  'image-capture': 'read',
  'volume-attach': 'use',
  'volume-detach': 'use',
};
const input = z.object({ instanceId: z.string(), attachmentId: z.string().optional() });

interface RetryParts {
  readonly access: Access;
  readonly instances: Instances;
  readonly quota: HostQuota;
}

/**
 * A job that is done again has its instance to itself as a new one has: it needs the same grants, an instance that no
 * other job works on, and room on the host for one that starts.
 */
export function instanceRetries({ access, instances, quota }: RetryParts): RetryPermit {
  return async (principal, { kind, input: json, compartmentId }) => {
    const verb = verbs[kind];
    if (verb === undefined) return undefined;
    const { instanceId, attachmentId } = input.parse(json);
    await instances.requireRow(principal, instanceId, verb);
    if (kind === 'image-capture' && compartmentId !== undefined)
      await access.demand(principal, 'manage', 'images', compartmentId, () => noInstance(instanceId));
    return async (transaction) => {
      const row = await lockInstance(transaction, principal.tenancyId, instanceId);
      if (row === undefined) throw noInstance(instanceId);
      if (row.deleted_at_ms !== null)
        throw new DomainError('CONFLICT', `the instance ${instanceId} is terminated`);
      requireIdle(row);
      const starts = kind === 'instance-launch' || kind === 'instance-start';
      if (starts && row.power_state !== 'RUNNING')
        await quota.requireRun(transaction, { cpuCount: row.cpu_count, memoryBytes: row.memory_bytes });
      if (attachmentId === undefined) return;
      const attachment = await findAttachment(transaction, attachmentId);
      if (attachment === undefined || attachment.detached_at_ms !== null)
        throw new DomainError('CONFLICT', `the volume attachment ${attachmentId} has ended`, {
          hint: 'attach the volume anew',
        });
    };
  };
}
