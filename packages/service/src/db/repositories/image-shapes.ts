import type { ImageShapeRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';

/** The shapes that an image may be launched with, by name. None: any shape. */
export function listImageShapes(queries: Queries, imageId: string): Promise<ImageShapeRow[]> {
  return queries
    .selectFrom('image_shapes')
    .selectAll()
    .where('image_id', '=', imageId)
    .orderBy('shape')
    .execute();
}

/** Adds a shape, or writes over what was said of it. */
export async function putImageShape(queries: Queries, row: ImageShapeRow): Promise<void> {
  const { ocpu_json, memory_json } = row;
  await queries
    .insertInto('image_shapes')
    .values(row)
    .onConflict((conflict) => conflict.columns(['image_id', 'shape']).doUpdateSet({ ocpu_json, memory_json }))
    .execute();
}

/** False when the image names no such shape. */
export async function deleteImageShape(queries: Queries, imageId: string, shape: string): Promise<boolean> {
  const deleted = await queries
    .deleteFrom('image_shapes')
    .where('image_id', '=', imageId)
    .where('shape', '=', shape)
    .returning('shape')
    .executeTakeFirst();
  return deleted !== undefined;
}
