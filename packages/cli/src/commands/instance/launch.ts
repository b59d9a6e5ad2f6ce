import type { Instance, Job } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { findImage } from '../../client/images.ts';
import type { Context } from '../../context.ts';
import { usageError } from '../../errors/command-error.ts';
import { finishStarted, type WaitFlags } from './started.ts';

interface LaunchOptions extends WaitFlags {
  readonly name?: string;
  readonly bootVolume?: string;
  readonly bootVolumeSize?: number;
  readonly shape?: string;
  readonly ocpus?: number;
  readonly memory?: number;
  readonly firmware?: 'BIOS' | 'UEFI_64';
  readonly metadata?: Readonly<Record<string, string>>;
  readonly compartment?: string;
  readonly materialize?: boolean;
}

export async function run(
  context: Context,
  [imageIdOrName]: readonly [string | undefined],
  options: LaunchOptions,
): Promise<undefined> {
  const { bootVolume: volumeId, bootVolumeSize: volumeSizeBytes, ocpus, memory, firmware } = options;
  if ((imageIdOrName === undefined) === (volumeId === undefined))
    throw usageError(
      'an instance is launched of an image or of a boot volume',
      'name an image, or give --boot-volume',
    );
  const client = await connect(context);
  const image = imageIdOrName === undefined ? undefined : await findImage(client, imageIdOrName);
  const request = {
    name: options.name ?? image?.name,
    imageId: image?.id,
    volumeId,
    volumeSizeBytes,
    compartmentId: options.compartment,
    shape: options.shape,
    ...((ocpus !== undefined || memory !== undefined) && {
      shapeConfig: { ocpus, memoryInGBs: memory },
    }),
    ...(firmware !== undefined && { launchOptions: { firmware } }),
    metadata: options.metadata,
    materialize: options.materialize,
  };
  const started = await client.startOnce<{ instance: Instance; job: Job }>('/instances', request);
  await finishStarted(context, client, started, options);
}
