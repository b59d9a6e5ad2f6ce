import type { Image } from '../../client/api.ts';
import type { Context } from '../../context.ts';
import { recordLines } from '../../output/output.ts';
import { exactSizeText, timeText } from '../../output/quantities.ts';

export async function printImage(context: Context, image: Image): Promise<void> {
  const { id, name, virtualSizeBytes, sourceFormat, diskDigest, createdAtMs, details } = image;
  const shown = {
    id,
    name,
    'virtual size': exactSizeText(virtualSizeBytes),
    'disk digest': diskDigest,
    'imported from': sourceFormat,
    created: timeText(createdAtMs),
    details,
  };
  await context.output.record({ ...image }, recordLines(shown));
}
