import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';

/** Targets as they were sent, of requests whose target was changed: signatures are made over these. */
const sentTargets: WeakMap<IncomingMessage, string> = new WeakMap();

/** The path and query of a request as its client sent them. */
export function sentTarget(message: IncomingMessage): string {
  return sentTargets.get(message) ?? message.url ?? '/';
}

/** Keeps the target as it is now, before a dialect rewrites it; what was kept before stays. */
export function keepSentTarget(message: IncomingMessage): void {
  if (!sentTargets.has(message)) sentTargets.set(message, message.url ?? '/');
}

/**
 * Hands a request to the API of the longest prefix that its path begins with, such as `/oci`, which that API does
 * not see; all others go to `native`.
 */
export function dispatchByPrefix(
  native: (request: IncomingMessage, response: ServerResponse) => void,
  dialects: Readonly<Record<string, FastifyInstance>>,
): (request: IncomingMessage, response: ServerResponse) => void {
  const prefixes = Object.keys(dialects).sort((a, b) => b.length - a.length);
  return (request, response) => {
    const target = request.url ?? '/';
    const prefix = prefixes.find((each) => target.startsWith(`${each}/`));
    const dialect = prefix === undefined ? undefined : dialects[prefix];
    if (prefix === undefined || dialect === undefined) return native(request, response);
    keepSentTarget(request);
    request.url = target.slice(prefix.length);
    dialect.routing(request, response);
  };
}
