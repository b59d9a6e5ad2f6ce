import type { Disk } from '../disk/disk.ts';
import { withZerosFound } from '../disk/zero-detection.ts';
import { type PlanOptions, planImage } from './convert.ts';

export interface Measurement {
  readonly format: string;
  /** File length of a conversion, in bytes: exact, or for compressed forms the most that it can be. */
  readonly requiredBytes: number;
  readonly exact: boolean;
}

/** What `convert` with the same options would write, without writing it. Reads uncompressed data once. */
export async function measure(disk: Disk, options: PlanOptions): Promise<Measurement> {
  const plan = await planImage(withZerosFound(disk), options);
  return plan.kind === 'layout'
    ? { format: plan.format, requiredBytes: plan.lengthBytes, exact: true }
    : { format: plan.format, requiredBytes: plan.maximumLengthBytes, exact: false };
}
