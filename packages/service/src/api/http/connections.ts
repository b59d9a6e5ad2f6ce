import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';

/** A whole machine image arrives in one request: only its sender's silence ends it. */
export const CONNECTION_IDLE_MS = 120_000;

/**
 * How long a connection is kept for its client's next request. Clients keep theirs for a minute and more, and an
 * upload fails with the part that is sent into a connection that was just closed.
 */
export const KEEP_ALIVE_MS = 75_000;

/** For the head of a request, which is at most 16 KiB. */
const HEAD_MS = 60_000;

/**
 * A server with these times; how long a request as a whole may take is not limited. Requests that `upgrades` are left to
 * whoever hears the server's `upgrade`; none are when it is absent.
 */
export function httpServer(
  listener: RequestListener,
  upgrades: (request: IncomingMessage) => boolean = () => false,
): Server {
  const times = { keepAliveTimeout: KEEP_ALIVE_MS, headersTimeout: HEAD_MS, requestTimeout: 0 };
  const server = createServer({ ...times, shouldUpgradeCallback: upgrades }, listener);
  server.setTimeout(CONNECTION_IDLE_MS);
  return server;
}
