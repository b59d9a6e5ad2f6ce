import type { Image } from '../../client/api.ts';
import type { Context } from '../../context.ts';
import { recordLines } from '../../output/output.ts';
import { exactSizeText, timeText } from '../../output/quantities.ts';

export async function printImage(context: Context, image: Image): Promise<void> {
  const { id, name, state, virtualSizeBytes, sourceFormat, diskDigest, createdAtMs, details } = image;
  const { operatingSystem, operatingSystemVersion, launchMode, launchOptions, freeformTags } = image;
  const { capturedAtMs, consistency } = image;
  const shown = {
    id,
    name,
    state,
    compartment: image.compartmentId,
    'operating system': `${operatingSystem} ${operatingSystemVersion}`.trim() || undefined,
    'launch mode': launchMode ?? undefined,
    'launch options': launchOptions ?? undefined,
    tags: Object.keys(freeformTags).length === 0 ? undefined : freeformTags,
    'virtual size': exactSizeText(virtualSizeBytes),
    'disk digest': diskDigest,
    captured:
      capturedAtMs === null
        ? undefined
        : `${timeText(capturedAtMs)}, consistency: ${consistency ?? 'not known'}`,
    'imported from': sourceFormat,
    created: timeText(createdAtMs),
    details,
  };
  await context.output.record({ ...image }, recordLines(shown));
}
