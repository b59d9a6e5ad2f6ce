import type { GuestReport, LaunchProposal } from '@gantry/machine';
import { z } from 'zod';
import type { ImageRow } from '../db/schema.ts';

const schema = z.object({
  boots: z.enum(['yes', 'no', 'unknown']),
  architecture: z.string(),
  launchMode: z.string(),
  /** What the hardware clock shall hold; where nothing was noted, the name of the system says. */
  clock: z.enum(['utc', 'local']).optional(),
  warnings: z.array(z.string()),
});
/** What an import saw on the disk of an image, as far as launches go by it. */
export type SeenGuest = z.infer<typeof schema>;

/** Undefined for an image of which nothing was noted. */
export function seenGuest(row: Pick<ImageRow, 'proposal_json'> | undefined): SeenGuest | undefined {
  return row?.proposal_json == null ? undefined : schema.parse(JSON.parse(row.proposal_json));
}

/** As the image's row keeps it. */
export function proposalJson(
  { boots, architecture, launchMode, clock, warnings }: LaunchProposal,
  { operatingSystems: [system] }: Pick<GuestReport, 'operatingSystems'>,
): string {
  // What is proposed for want of anything better is no more than the name of the system says.
  const isKnown = system?.windows?.clock?.holds !== undefined;
  const seen: SeenGuest = {
    boots,
    architecture,
    launchMode,
    ...(isKnown && { clock }),
    warnings: [...warnings],
  };
  return JSON.stringify(seen);
}
