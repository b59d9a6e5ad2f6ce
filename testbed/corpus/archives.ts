import type { Family, HostileCase } from './case.ts';
import { ociCases } from './oci.ts';
import { ovaCases } from './ova.ts';

function* cases(): Generator<HostileCase> {
  yield* ociCases();
  yield* ovaCases();
}

export const archives: Family = { name: 'archives', cases };
