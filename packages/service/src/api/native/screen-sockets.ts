import { randomUUID } from 'node:crypto';
import { type IncomingMessage, type Server, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { FastifyBaseLogger } from 'fastify';
import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws';
import { DomainError } from '../../domain/errors.ts';
import type { ScreenKind, Screens } from '../../domain/screens.ts';
import { bearerToken, type TokenVerifier } from './authentication.ts';
import { type ErrorBody, refusalOf } from './errors.ts';
import type { Principal } from './principal.ts';

const PATH = /^\/api\/v1\/instances\/([^/?]+)\/(screen|console)(?:\?.*)?$/;
/** What a viewer sends is keys, moves of the pointer and texts; RFB's largest message of a client is a pasted text. */
const MESSAGE_BYTES_MAX: number = 1024 * 1024;
/** Of this service together: each holds two connections and their buffers. */
const CONNECTIONS_MAX = 256;
/** What others cannot be kept from. */
const CONNECTIONS_OF_TENANCY_MAX = 64;
/** A viewer that is gone without a word is found out in twice this time. */
const PING_MS = 30_000;
/** How long who may no longer see a machine goes on seeing it at most. */
const ACCESS_MS = 5_000;

export interface ScreenSocketParts {
  readonly screens: Screens;
  readonly verifyToken: TokenVerifier;
  readonly logger: FastifyBaseLogger;
}

/** True for requests that open a screen or a console; all others are answered as if they asked for no upgrade. */
export function asksForScreen({ url = '', headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket' && PATH.test(url);
}

/** Screens and consoles of instances as websockets: the bytes of RFB, and those of the serial port. */
export class ScreenSockets {
  readonly #parts: ScreenSocketParts;
  /** How many each tenancy has. */
  readonly #taken = new Map<string, number>();
  readonly #sockets: WebSocketServer = new WebSocketServer({
    noServer: true,
    maxPayload: MESSAGE_BYTES_MAX,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has('binary') ? 'binary' : false),
  });

  constructor(parts: ScreenSocketParts) {
    this.#parts = parts;
  }

  /** Answers the requests of this server that `asksForScreen`. */
  attach(server: Server): void {
    server.on('upgrade', (request, socket, head) => {
      // Until a websocket has it, nobody else hears of its errors.
      socket.on('error', () => socket.destroy());
      this.#answer(request, socket, head).catch((error) => this.#refuse(request, socket, error));
    });
  }

  /** Ends all conversations; machines go on. */
  close(): void {
    for (const client of this.#sockets.clients) client.close(1001, 'the service stops');
    // One that does not answer is not waited for.
    setTimeout(() => {
      for (const client of this.#sockets.clients) client.terminate();
    }, 1000).unref();
  }

  async #answer(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const { url = '' } = request;
    const [, encoded = '', kind] = PATH.exec(url) ?? [];
    const instanceId = decoded(encoded);
    requireOwnPage(request);
    const principal = await this.#principal(request, instanceId, kind as ScreenKind);
    if (socket.destroyed) return;
    this.#take(principal, socket);
    const machine = await this.#parts.screens.open(principal, instanceId, kind as ScreenKind);
    machine.on('error', () => machine.destroy());
    socket.once('close', () => machine.destroy());
    if (socket.destroyed) return void machine.destroy();
    this.#sockets.handleUpgrade(request, socket, head, (client) => {
      request.socket.setTimeout(0);
      const asking = setInterval(
        () => this.#askAgain(request, principal, instanceId, client, machine),
        ACCESS_MS,
      );
      void converse(client, machine).finally(() => clearInterval(asking));
    });
    // A handshake that is no websocket's ends without a conversation.
    if (socket.destroyed || socket.writableEnded) machine.destroy();
  }

  /** Ends the conversation of whom it would be refused by now. What cannot be asked now is asked again. */
  async #askAgain(
    request: IncomingMessage,
    principal: Principal,
    instanceId: string,
    client: WebSocket,
    machine: Duplex,
  ): Promise<void> {
    try {
      const token = bearerToken(request.headers.authorization);
      const isKnown = token === undefined || (await this.#parts.verifyToken(token)) !== undefined;
      if (isKnown && (await this.#parts.screens.mayGoOn(principal, instanceId))) return;
      client.close(1008, 'you may no longer use the instance');
      machine.destroy();
    } catch (error) {
      this.#parts.logger.warn({ err: error }, 'who has a screen open could not be asked for');
    }
  }

  /** Until the connection ends. Throws CONFLICT when there are too many. */
  #take({ tenancyId }: Principal, socket: Duplex): void {
    const own = this.#taken.get(tenancyId) ?? 0;
    const all = [...this.#taken.values()].reduce((sum, count) => sum + count, 0);
    if (all >= CONNECTIONS_MAX || own >= CONNECTIONS_OF_TENANCY_MAX)
      throw new DomainError('CONFLICT', `${all} screens and consoles are open, ${own} of this tenancy`, {
        hint: `close some: there are ${CONNECTIONS_MAX}, and ${CONNECTIONS_OF_TENANCY_MAX} for each tenancy`,
      });
    this.#taken.set(tenancyId, own + 1);
    socket.once('close', () => {
      const left = (this.#taken.get(tenancyId) ?? 1) - 1;
      if (left > 0) this.#taken.set(tenancyId, left);
      else this.#taken.delete(tenancyId);
    });
  }

  async #principal(request: IncomingMessage, instanceId: string, kind: ScreenKind): Promise<Principal> {
    const token = bearerToken(request.headers.authorization);
    const ticket = new URL(request.url ?? '/', 'http://localhost').searchParams.get('ticket');
    const principal =
      token !== undefined
        ? await this.#parts.verifyToken(token)
        : ticket !== null
          ? await this.#parts.screens.redeem(ticket, instanceId, kind)
          : undefined;
    if (principal !== undefined) return principal;
    throw new DomainError('UNAUTHENTICATED', 'this needs a valid token or ticket', {
      hint: 'send Authorization: Bearer, or ?ticket= with a new ticket of POST …/screen-tickets',
    });
  }

  #refuse(_request: IncomingMessage, socket: Duplex, thrown: unknown): void {
    const { status, code, message, hint } = refusalOf(thrown);
    const requestId = randomUUID();
    if (status >= 500) this.#parts.logger.error({ err: thrown, reqId: requestId }, 'request failed');
    const error: ErrorBody['error'] = { code, message, requestId, ...(hint === undefined ? {} : { hint }) };
    const body = JSON.stringify({ error });
    const head = [
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
      'content-type: application/json; charset=utf-8',
      `content-length: ${Buffer.byteLength(body)}`,
      `x-request-id: ${requestId}`,
      'connection: close',
    ];
    socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
  }
}

/**
 * Pages of other places may not use what a browser holds for this one. Programs that are no browsers send no origin.
 * Throws FORBIDDEN.
 */
function requireOwnPage({ headers }: IncomingMessage): void {
  const { origin, host } = headers;
  if (origin === undefined || URL.parse(origin)?.host === host) return;
  throw new DomainError('FORBIDDEN', 'a page of another place asked for this', {
    hint: 'open it from a page of this service',
  });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Ends when either side does. */
async function converse(client: WebSocket, machine: Duplex): Promise<void> {
  let isAlive = true;
  client.on('pong', () => {
    isAlive = true;
  });
  const pinging = setInterval(() => {
    if (!isAlive) return client.terminate();
    isAlive = false;
    client.ping();
  }, PING_MS);
  const viewer = createWebSocketStream(client);
  try {
    await Promise.all([pipeline(viewer, machine), pipeline(machine, viewer)]);
  } catch {
    // Whoever ended it without a word.
  } finally {
    clearInterval(pinging);
    machine.destroy();
    if (client.readyState === client.OPEN) client.close(1000, 'the machine has ended');
  }
}
