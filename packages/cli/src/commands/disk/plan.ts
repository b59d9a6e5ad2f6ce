import {
  type Disk,
  type FileSet,
  type ImageStream,
  type Layout,
  planFiles,
  planImage,
  planStored,
  withZerosToConvert,
} from '@gantry/disk';
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

/** Plans what `convert` would write, with progress: one file or several. */
export async function planTargetFiles(
  context: Context,
  disk: Disk,
  format: string,
  options: TargetOptions,
  baseName?: string,
): Promise<Layout | ImageStream | FileSet> {
  const { signal, progress } = context;
  const asked = { ...planOptions(format, options), baseName, signal };
  const found = await withZerosToConvert(disk, { ...asked, onProgress: progress.step });
  const plan = await planFiles(found, asked);
  progress.end();
  return plan;
}

/** As `planTargetFiles`, for a target that is one file. Throws IMAGE_OPTION for a form of several. */
export async function planTarget(
  context: Context,
  disk: Disk,
  format: string,
  options: TargetOptions,
): Promise<Layout | ImageStream> {
  const { signal, progress } = context;
  const asked = { ...planOptions(format, options), signal };
  const found = await withZerosToConvert(disk, { ...asked, onProgress: progress.step });
  const plan = await planImage(found, asked);
  progress.end();
  return plan;
}

/** As `planTarget`; a compressed form whose start is known at its end is given as a layout where that can be. */
export async function planInOrder(
  context: Context,
  disk: Disk,
  format: string,
  options: TargetOptions,
): Promise<Layout | ImageStream> {
  const plan = await planTarget(context, disk, format, options);
  if (plan.kind === 'layout' || plan.frontBytes === 0) return plan;
  const { signal, progress } = context;
  const stored = await planStored(disk, {
    ...planOptions(format, options),
    signal,
    onProgress: progress.step,
  });
  progress.end();
  return stored ?? plan;
}

function planOptions(format: string, options: TargetOptions) {
  return { format, options: options.option ?? {}, compression: options.compress, seed: options.seed };
}

export function plannedLength(plan: Layout | ImageStream | FileSet): PlannedLength {
  if (plan.kind === 'layout') return { requiredBytes: plan.lengthBytes, exact: true };
  if (plan.kind === 'stream') return { requiredBytes: plan.maximumLengthBytes, exact: false };
  const lengths = plan.files.map((file) => plannedLength(file.plan));
  return {
    requiredBytes: lengths.reduce((sum, { requiredBytes }) => sum + requiredBytes, 0),
    exact: lengths.every(({ exact }) => exact),
  };
}
