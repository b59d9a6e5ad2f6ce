import { z } from 'zod';

export const compression: z.ZodEnum<{ zlib: 'zlib'; zstd: 'zstd' }> = z.enum(['zlib', 'zstd']);

/** How an image is shown: a format with its `-O` options. Kept with objects that are views. */
export const viewSpec = z.object({
  format: z.string().min(1),
  options: z.record(z.string(), z.string()),
  compression: compression.optional(),
});
export type ViewSpec = z.infer<typeof viewSpec>;

/** The same text for the same view, whatever order its options were named in. */
export function canonicalViewSpec(spec: ViewSpec): string {
  const options = Object.entries(spec.options).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([spec.format, options, spec.compression ?? null]);
}
