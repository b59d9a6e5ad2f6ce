import { z } from 'zod';
import type { InstanceWithState } from '../db/repositories/instances.ts';
import { DomainError } from './errors.ts';

/** `softstop`, `softreset`: the guest is asked to end by itself first, as by its power button. */
export const instanceActions = ['start', 'stop', 'softstop', 'reset', 'softreset'] as const;
export type InstanceAction = (typeof instanceActions)[number];

export interface PowerRequest {
  /** How long the guest has to end by itself, where it is asked to. */
  readonly graceMs?: number | undefined;
}

export const startInput = z.object({
  instanceId: z.string(),
  /** Copies the whole disk before the machine is started. */
  copies: z.boolean().optional(),
});
export const stopInput = z.object({ instanceId: z.string(), graceMs: z.number() });
export const terminateInput = z.object({ instanceId: z.string(), keepsBootVolume: z.boolean() });

/** The job that does it. Throws CONFLICT when the instance's power does not allow it. */
export function powerJobOf(
  { id, power_state: power }: InstanceWithState,
  action: InstanceAction,
  graceMs: number,
): { readonly kind: string; readonly input: object } {
  const needed = action === 'start' ? 'STOPPED' : 'RUNNING';
  if (power !== needed)
    throw new DomainError(
      'CONFLICT',
      `the instance ${id} is ${power}: ${action} needs one that is ${needed}`,
    );
  const isSoft = action === 'softstop' || action === 'softreset';
  const input = { graceMs: isSoft ? graceMs : 0 };
  if (action === 'start') return { kind: 'instance-start', input: {} };
  const isStop = action === 'stop' || action === 'softstop';
  return { kind: isStop ? 'instance-stop' : 'instance-reset', input };
}
