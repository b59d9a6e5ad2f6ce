import { z } from 'zod';
import type { Tags } from '../../domain/tags.ts';

export const resourceName = z
  .string()
  .min(1)
  .max(255)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  .regex(/^[^\u0000-\u001f\u007f]+$/, 'a name has no control characters');

export const freeformTags = z.record(z.string(), z.string()).optional();
export const definedTags = z
  .record(z.string(), z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])))
  .optional();

/** What of these was sent. */
export function sentTags({
  freeformTags: freeform,
  definedTags: defined,
}: {
  readonly freeformTags?: z.infer<typeof freeformTags>;
  readonly definedTags?: z.infer<typeof definedTags>;
}): Partial<Tags> {
  return { ...(freeform && { freeform }), ...(defined && { defined }) };
}
