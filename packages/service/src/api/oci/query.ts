/**
 * A query as OCI's clients write it: a plus is a plus, since the SDK sends the values of filters as they were given
 * and encodes only what no address may hold. A name that comes again makes a list.
 */
export function parseQuery(text: string): Record<string, string | string[]> {
  const values = new Map<string, string[]>();
  for (const pair of text.split('&')) {
    if (pair === '') continue;
    const [name = '', ...rest] = pair.split('=');
    const known = values.get(decoded(name)) ?? [];
    values.set(decoded(name), [...known, decoded(rest.join('='))]);
  }
  const entries = [...values].map(([name, each]) => [name, each.length === 1 ? each[0] : each]);
  return Object.fromEntries(entries);
}

/** What is not percent-encoded stands for itself: within the router nothing may throw. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
