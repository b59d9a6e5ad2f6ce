/** One page of a listing. */
export interface Page<Item> {
  readonly items: readonly Item[];
  /** Give it to the next call to go on; undefined on the last page. */
  readonly next: string | undefined;
}

/** Makes a page of at most `limit` from the rows of a query that asked for one more. */
export function toPage<Row>(rows: readonly Row[], limit: number, cursorOf: (row: Row) => string): Page<Row> {
  if (rows.length <= limit) return { items: rows, next: undefined };
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return { items, next: last === undefined ? undefined : cursorOf(last) };
}
