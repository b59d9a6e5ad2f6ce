import { keyAfterPrefix } from '../db/key-order.ts';
import { listObjects } from '../db/repositories/objects.ts';
import type { ObjectRow } from '../db/schema.ts';
import type { Queries } from '../db/transactions.ts';

export interface ObjectSelection {
  readonly prefix?: string | undefined;
  /** This key and those after it. */
  readonly start?: string | undefined;
  /** Keys after this one. */
  readonly startAfter?: string | undefined;
  /** Keys before this one. */
  readonly end?: string | undefined;
  /** Keys that have it behind the prefix are not listed one by one, but as what stands up to it. */
  readonly delimiter?: string | undefined;
  /** Of objects and common prefixes together. */
  readonly limit: number;
}

export interface SelectedObjects {
  readonly rows: readonly ObjectRow[];
  /** Common prefixes, in order. */
  readonly prefixes: readonly string[];
  /** The `start` of the page behind this one; undefined when there is none. */
  readonly next: string | undefined;
}

/** Lists a bucket like a folder, in the order of the keys' UTF-8 bytes. */
export async function selectObjects(
  queries: Queries,
  bucketId: string,
  selection: ObjectSelection,
): Promise<SelectedObjects> {
  const { prefix = '', startAfter, end, delimiter = '', limit } = selection;
  const rows: ObjectRow[] = [];
  const prefixes: string[] = [];
  let startAt = selection.start;
  for (;;) {
    const room = limit - rows.length - prefixes.length;
    const batch = await listObjects(queries, { bucketId, prefix, startAfter, startAt, end, limit: room + 1 });
    let folder: string | undefined;
    for (const row of batch) {
      if (rows.length + prefixes.length === limit) return { rows, prefixes, next: row.object_key };
      folder = folderOf(row.object_key, prefix, delimiter);
      if (folder !== undefined) break;
      rows.push(row);
    }
    if (folder === undefined) return { rows, prefixes, next: undefined };
    prefixes.push(folder);
    // Behind all that the folder holds, however much that is.
    startAt = keyAfterPrefix(folder);
    if (startAt === undefined) return { rows, prefixes, next: undefined };
  }
}

/** The key up to the first delimiter behind the prefix. */
function folderOf(key: string, prefix: string, delimiter: string): string | undefined {
  if (delimiter === '') return undefined;
  const at = key.indexOf(delimiter, prefix.length);
  return at < 0 ? undefined : key.slice(0, at + delimiter.length);
}
