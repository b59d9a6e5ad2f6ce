import { z } from 'zod';

/** The query of every listing. */
export const listingQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  startAfter: z.string().optional().describe('nextStartAfter of the page before'),
});

/** A page of a listing, with items of this shape. */
export function pageBody<Item extends z.ZodType>(
  item: Item,
): z.ZodObject<{ items: z.ZodArray<Item>; nextStartAfter: z.ZodNullable<z.ZodString> }> {
  return z.object({ items: z.array(item), nextStartAfter: z.string().nullable() });
}
