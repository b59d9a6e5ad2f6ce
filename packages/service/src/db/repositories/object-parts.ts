import type { ObjectPartRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';

/** Rows of one INSERT: four values each, far below what either engine takes in one statement. */
const ROWS_AT_ONCE = 1000;

export async function insertObjectParts(queries: Queries, rows: readonly ObjectPartRow[]): Promise<void> {
  for (let at = 0; at < rows.length; at += ROWS_AT_ONCE) {
    await queries
      .insertInto('object_parts')
      .values(rows.slice(at, at + ROWS_AT_ONCE))
      .execute();
  }
}

/** The parts of the object of this stored name, in order. */
export function listObjectParts(queries: Queries, objectName: string): Promise<ObjectPartRow[]> {
  return queries
    .selectFrom('object_parts')
    .selectAll()
    .where('object_name', '=', objectName)
    .orderBy('part_number')
    .execute();
}

/** Forgets the parts of the object of this stored name; returns them in order: their bytes are nobody's now. */
export async function takeObjectParts(queries: Queries, objectName: string): Promise<ObjectPartRow[]> {
  const parts = await listObjectParts(queries, objectName);
  await queries.deleteFrom('object_parts').where('object_name', '=', objectName).execute();
  return parts;
}

/** Which of these names of the object store an object, a part or an unfinished upload needs. */
export async function neededStoredNames(queries: Queries, names: readonly string[]): Promise<Set<string>> {
  const needed = new Set<string>();
  for (const table of ['objects', 'object_parts', 'upload_parts'] as const) {
    const rows = await queries
      .selectFrom(table)
      .select('stored_name')
      .where('stored_name', 'in', [...names])
      .execute();
    for (const { stored_name: name } of rows) if (name !== null) needed.add(name);
  }
  return needed;
}
