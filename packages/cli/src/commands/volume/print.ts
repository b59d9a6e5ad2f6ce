import type { Volume } from '../../client/api.ts';
import type { Context } from '../../context.ts';
import { recordLines } from '../../output/output.ts';
import { exactSizeText, timeText } from '../../output/quantities.ts';

export async function printVolume(context: Context, volume: Volume): Promise<void> {
  const { id, name, kind, state, sizeBytes, imageId, isFilled, instanceId, createdAtMs } = volume;
  const shown = {
    id,
    name,
    kind,
    state,
    size: exactSizeText(sizeBytes),
    image: imageId ?? undefined,
    filled: isFilled ? 'yes' : 'no: what it has of its image is read from the service',
    instance: instanceId ?? undefined,
    created: timeText(createdAtMs),
  };
  await context.output.record({ ...volume }, recordLines(shown));
}
