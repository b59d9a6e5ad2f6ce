import type { Disk } from '../disk/disk.ts';
import { type PlanOptions, planFiles, withZerosToConvert } from './convert.ts';

export interface Measurement {
  readonly format: string;
  /** File length of a conversion, in bytes: exact, or for compressed forms the most that it can be. */
  readonly requiredBytes: number;
  readonly exact: boolean;
}

/**
 * What `convert` (or `convertFiles`, then for all files together) with the same options would write, without
 * writing it. Reads uncompressed data once.
 */
export async function measure(disk: Disk, options: PlanOptions): Promise<Measurement> {
  const plan = await planFiles(await withZerosToConvert(disk, options), options);
  const plans = plan.kind === 'files' ? plan.files.map((file) => file.plan) : [plan];
  const lengths = plans.map((each) => (each.kind === 'layout' ? each.lengthBytes : each.maximumLengthBytes));
  return {
    format: plan.format,
    requiredBytes: lengths.reduce((sum, length) => sum + length, 0),
    exact: plans.every(({ kind }) => kind === 'layout'),
  };
}
