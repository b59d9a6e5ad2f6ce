import type { Instance, InstanceWithVolumes } from '../../client/api.ts';
import type { Context } from '../../context.ts';
import { recordLines } from '../../output/output.ts';
import { sizeText, timeText } from '../../output/quantities.ts';

export async function printInstance(
  context: Context,
  instance: Instance & Partial<Pick<InstanceWithVolumes, 'volumes'>>,
): Promise<void> {
  const { id, name, state, stateReason, jobId, imageId, launchMode, launchOptions, volumes = [] } = instance;
  const { metadata, freeformTags } = instance;
  const shown = {
    id,
    name,
    state,
    reason: stateReason ?? undefined,
    job: jobId ?? undefined,
    compartment: instance.compartmentId,
    shape: instance.shape,
    processors: instance.cpuCount,
    memory: sizeText(instance.memoryBytes),
    image: imageId ?? undefined,
    'launch mode': launchMode ?? undefined,
    'launch options': launchOptions ?? undefined,
    volumes: volumes.length === 0 ? undefined : volumes.map(({ volumeId, kind }) => `${volumeId} (${kind})`),
    metadata: Object.keys(metadata).length === 0 ? undefined : metadata,
    tags: Object.keys(freeformTags).length === 0 ? undefined : freeformTags,
    created: timeText(instance.createdAtMs),
  };
  await context.output.record({ ...instance } as never, recordLines(shown));
}
