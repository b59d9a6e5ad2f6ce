import { type Disk, type ImageStream, type Layout, planImage, withZerosFound } from '@gantry/disk';
import type { Context } from '../../context.ts';

export interface TargetOptions {
  readonly option?: Readonly<Record<string, string>>;
  readonly compress?: 'zlib' | 'zstd';
  readonly seed?: Uint8Array;
}

/** How long a planned file is: exact, or for compressed forms the most that it can be. */
export interface PlannedLength {
  readonly requiredBytes: number;
  readonly exact: boolean;
}

/** Plans what `convert` would write, with progress. */
export async function planTarget(
  context: Context,
  disk: Disk,
  format: string,
  options: TargetOptions,
): Promise<Layout | ImageStream> {
  const { signal, progress } = context;
  const plan = await planImage(withZerosFound(disk, { onProgress: progress.step }), {
    format,
    options: options.option ?? {},
    compression: options.compress,
    seed: options.seed,
    signal,
  });
  progress.end();
  return plan;
}

export function plannedLength(plan: Layout | ImageStream): PlannedLength {
  return plan.kind === 'layout'
    ? { requiredBytes: plan.lengthBytes, exact: true }
    : { requiredBytes: plan.maximumLengthBytes, exact: false };
}
