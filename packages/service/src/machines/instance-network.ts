import { DomainError } from '../domain/errors.ts';
import type { InstanceNetwork } from './instance-machine.ts';

/** Reads `isolated`, `nat` or `bridge=NAME`. Throws INVALID. */
export function parseInstanceNetwork(text: string): InstanceNetwork {
  if (text === 'isolated' || text === 'nat') return { kind: text };
  // Linux: names of network devices have 1 to 15 bytes.
  const [, bridge] = /^bridge=([\w.-]{1,15})$/.exec(text) ?? [];
  if (bridge !== undefined) return { kind: 'bridge', bridge };
  throw new DomainError('INVALID', `${JSON.stringify(text)} is no network of instances`, {
    hint: 'it is isolated, nat, or bridge=NAME',
  });
}
