/** Runs `task` over the items, at most `limit` at a time. The first failure stops new tasks and is thrown. */
export async function forEachBounded<Item>(
  items: AsyncIterable<Item> | Iterable<Item>,
  limit: number,
  task: (item: Item) => Promise<void>,
): Promise<void> {
  for await (const _ of mapOrdered(items, limit, task));
}

/**
 * Maps items with at most `limit` tasks at work or waiting to be taken, and yields the results in the order
 * of the items: memory is bounded by `limit` results. After a failure, waits for the tasks at work.
 */
export async function* mapOrdered<Item, Result>(
  items: AsyncIterable<Item> | Iterable<Item>,
  limit: number,
  task: (item: Item) => Promise<Result>,
): AsyncGenerator<Result, void, undefined> {
  const window: Promise<Result>[] = [];
  try {
    for await (const item of items) {
      const result = task(item);
      // The failure is seen when its turn comes; until then it is no unhandled rejection.
      result.catch(() => {});
      window.push(result);
      if (window.length >= limit) yield await (window.shift() as Promise<Result>);
    }
    for (let next = window.shift(); next !== undefined; next = window.shift()) yield await next;
  } finally {
    await Promise.allSettled(window);
  }
}
