import type { IncomingHttpHeaders } from 'node:http';

/**
 * The target with its query in one way of writing. The SDKs of Python, Go and Java write a space as a plus, as forms
 * do; that of TypeScript sends the values of filters as they were given, and a plus is a plus.
 */
export function inOneWay(target: string, headers: IncomingHttpHeaders): string {
  const at = target.indexOf('?');
  if (at < 0 || headers['user-agent']?.startsWith('Oracle-TypeScriptSDK/') === true) return target;
  return target.slice(0, at) + target.slice(at).replaceAll('+', '%20');
}

/** A query in which a plus is a plus. A name that comes again makes a list. */
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
