import { type LookupAddress, lookup as systemLookup } from 'node:dns';
import http from 'node:http';
import https from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import {
  type HttpAnswer,
  type HttpFetch,
  type HttpRequestInit,
  moveCredentials,
  StoreError,
  shownAddress,
} from '@gantry/disk';
import { type AllowList, hostOf, parseAllowList } from './allow-list.ts';
import { isPublicAddress } from './public-addresses.ts';
import { headersAfterRedirect, redirectTarget } from './redirects.ts';
import { timedRequest } from './timed-request.ts';

export interface NetGuardOptions {
  /** Hosts, `host:port` and subnets that may be reached although they are not public: see parseAllowList. */
  readonly allow: readonly string[];
  /** Whether addresses may carry `user:password@`. Default false. */
  readonly allowCredentials?: boolean | undefined;
  /** From the request to an open connection, names resolved and TLS agreed. Default 10,000. */
  readonly connectTimeoutMs?: number | undefined;
  /** Without a byte in either direction. Default 60,000. */
  readonly idleTimeoutMs?: number | undefined;
  /** Finds all addresses of a host. Default: the system's resolver. */
  readonly resolve?: ((host: string) => Promise<readonly LookupAddress[]>) | undefined;
}

/** As curl and browsers bound them, only tighter: a store redirects once or twice. */
const REDIRECT_LIMIT = 5;

/**
 * A fetch for addresses that strangers give, which never reaches the inside of the operator's network: only
 * http and https, and only hosts all of whose addresses are public or allowed. A host is resolved once for
 * each connection; the addresses that were checked are the ones that are connected to. Every redirect is
 * checked again, and credentials never cross to another origin.
 *
 * Rejects with STORE_REFUSED for what is not allowed and STORE_UNREACHABLE for what does not answer.
 */
export function guardedFetch(options: NetGuardOptions): HttpFetch {
  const guard = new NetGuard(options);
  return (address, init) => guard.fetch(address, init);
}

/** A request that changes something at an address that a stranger gave. */
export interface GuardedSendInit {
  readonly method: 'PUT' | 'POST' | 'DELETE';
  /** With a content-length. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: AsyncIterable<Uint8Array> | undefined;
  readonly signal: AbortSignal;
}

export type GuardedSend = (address: string, init: GuardedSendInit) => Promise<HttpAnswer>;

/** As guardedFetch, for requests with bodies. These are not sent twice: a redirect is STORE_REFUSED. */
export function guardedSend(options: NetGuardOptions): GuardedSend {
  const guard = new NetGuard(options);
  return (address, init) => guard.send(address, init);
}

/**
 * Checks all of an address that can be checked without asking the network, to refuse it as early as possible.
 * Throws STORE_REFUSED.
 */
export function requireGuardedAddress(address: string, options: NetGuardOptions): URL {
  return new NetGuard(options).require(address);
}

class NetGuard {
  readonly #options: NetGuardOptions;
  readonly #allow: AllowList;
  /** Connections of this guard only: what one of them leads to was checked by it. */
  readonly #agents: { readonly [protocol: string]: http.Agent };

  constructor(options: NetGuardOptions) {
    this.#options = options;
    this.#allow = parseAllowList(options.allow);
    this.#agents = {
      'http:': new http.Agent({ keepAlive: true }),
      'https:': new https.Agent({ keepAlive: true }),
    };
  }

  async send(address: string, init: GuardedSendInit): Promise<HttpAnswer> {
    const url = this.require(address);
    const { method, signal, body } = init;
    const response = await this.#request(url, method, requestHeaders(url, init.headers), signal, body);
    if (redirectOf(url, response) === undefined) return answerOf(response);
    throw refused(url, 'it redirects what is sent to it', 'give the address that it redirects to');
  }

  async fetch(address: string, init: HttpRequestInit): Promise<HttpAnswer> {
    let url = this.require(address);
    let headers: Readonly<Record<string, string>> = requestHeaders(url, init.headers);
    for (let redirects = 0; redirects <= REDIRECT_LIMIT; redirects++) {
      const response = await this.#request(url, init.method, headers, init.signal);
      const target = redirectOf(url, response);
      if (target === undefined) return answerOf(response);
      const next = this.require(target.href);
      headers = requestHeaders(next, headersAfterRedirect(url, next, headers));
      url = next;
    }
    throw new StoreError('STORE_REFUSED', `${shownAddress(url)}: more than ${REDIRECT_LIMIT} redirects`, {
      where: shownAddress(url),
    });
  }

  #request(
    url: URL,
    method: string,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
    body?: AsyncIterable<Uint8Array>,
  ): Promise<http.IncomingMessage> {
    const { connectTimeoutMs = 10_000, idleTimeoutMs = 60_000 } = this.#options;
    return timedRequest(url, {
      method,
      headers,
      signal,
      agent: this.#agents[url.protocol],
      lookup: this.#lookupFor(url),
      connectTimeoutMs,
      idleTimeoutMs,
      body,
    });
  }

  require(address: string): URL {
    const url = URL.parse(address);
    if (url === null) throw new StoreError('STORE_REFUSED', 'this is not an address', { where: 'address' });
    if (url.protocol !== 'http:' && url.protocol !== 'https:') {
      throw refused(url, `${url.protocol} addresses are not fetched`, 'give an http or https address');
    }
    if ((url.username !== '' || url.password !== '') && this.#options.allowCredentials !== true) {
      throw refused(url, 'the address carries a user name or password', 'give an address without them');
    }
    const host = hostOf(url);
    if (isIP(host) !== 0) this.#requireReachable(url, [host]);
    return url;
  }

  /** Throws unless every address of the host is public, or the operator allowed it. */
  #requireReachable(url: URL, addresses: readonly string[]): void {
    const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80));
    if (this.#allow.allowsHost(hostOf(url), port)) return;
    for (const address of addresses) {
      if (isPublicAddress(address) || this.#allow.allowsAddress(address, port)) continue;
      throw refused(
        url,
        'the host is not on the public Internet',
        'the operator can allow the host or its subnet: gantry serve --allow',
      );
    }
  }

  /** Resolves and checks in one step: the connection is made to what was checked, and to nothing else. */
  #lookupFor(url: URL): LookupFunction {
    const resolve = this.#options.resolve ?? resolveAll;
    return (host, options, callback) => {
      resolve(host).then(
        (addresses) => {
          try {
            this.#requireReachable(
              url,
              addresses.map(({ address }) => address),
            );
          } catch (error) {
            return callback(error as Error, '');
          }
          const [first] = addresses;
          if (options.all === true) callback(null, [...addresses]);
          else callback(null, first?.address ?? '', first?.family);
        },
        (error: Error) => callback(error, ''),
      );
    };
  }
}

function resolveAll(host: string): Promise<LookupAddress[]> {
  return new Promise((resolve, reject) => {
    systemLookup(host, { all: true }, (error, addresses) => (error ? reject(error) : resolve(addresses)));
  });
}

/** Names in lower case; the address's own credentials leave it and stand here. */
function requestHeaders(url: URL, given: Readonly<Record<string, string>>): Record<string, string> {
  const headers: Record<string, string> = { 'user-agent': 'gantry', 'accept-encoding': 'identity' };
  for (const [name, value] of Object.entries(given)) headers[name.toLowerCase()] = value;
  moveCredentials(url, headers);
  return headers;
}

function redirectOf(url: URL, response: http.IncomingMessage): URL | undefined {
  try {
    const target = redirectTarget(url, response.statusCode ?? 0, response.headers.location);
    if (target !== undefined) response.destroy();
    return target;
  } catch (error) {
    response.destroy();
    throw error;
  }
}

function answerOf(response: http.IncomingMessage): HttpAnswer {
  return {
    status: response.statusCode ?? 0,
    headers: {
      get(name) {
        const value = response.headers[name.toLowerCase()];
        return (Array.isArray(value) ? value.join(', ') : value) ?? null;
      },
    },
    body: response,
  };
}

function refused(url: URL, message: string, hint: string): StoreError {
  const where = shownAddress(url);
  return new StoreError('STORE_REFUSED', `${where}: ${message}`, { where, hint });
}
