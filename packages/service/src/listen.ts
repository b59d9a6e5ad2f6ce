import { type AddressInfo, isIPv6 } from 'node:net';
import { StoreError } from '@gantry/disk';
import { DomainError } from './domain/errors.ts';

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** Where the service answers. */
export interface Listeners {
  readonly main: ListenAddress;
  /** Where the OCI dialect alone answers, at the root; it answers below /oci at `main` all the same. */
  readonly oci: ListenAddress | undefined;
}

const DEFAULT = '127.0.0.1:7080';

/** Reads HOST:PORT and `oci=HOST:PORT`, each at most once. Throws INVALID. */
export function parseListeners(listen: string | readonly string[]): Listeners {
  const texts = typeof listen === 'string' ? [listen] : listen;
  const own = texts.filter((text) => text.startsWith('oci='));
  const main = texts.filter((text) => !own.includes(text));
  const [twice] = own.length > 1 ? own.slice(1) : main.slice(1);
  if (twice !== undefined) throw new DomainError('INVALID', `${twice} is one address too many to listen on`);
  const [oci] = own;
  return {
    main: parseListen(main[0] ?? DEFAULT),
    oci: oci === undefined ? undefined : parseListen(oci.slice('oci='.length)),
  };
}

/** Reads HOST:PORT, with an IPv6 address in brackets. Throws INVALID. */
function parseListen(text: string): ListenAddress {
  const [, bracketed, plain, portText] = /^(?:\[([^\]]+)\]|([^:=]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(portText);
  if (host !== undefined && port <= 65535) return { host, port };
  throw new DomainError('INVALID', `${JSON.stringify(text)} is no address to listen on`, {
    hint: 'give HOST:PORT, such as 127.0.0.1:7080 or [::1]:7080, or oci=HOST:PORT',
  });
}

/** What of `listen` failed, in words. */
export function notToBeHad({ host, port }: ListenAddress, error: unknown): StoreError {
  const { code, message } = error as NodeJS.ErrnoException;
  const where = `${host}:${port}`;
  if (code === 'EADDRINUSE') {
    return new StoreError('STORE_EXISTS', `another program listens on ${where} already`, {
      where,
      hint: 'stop it, or choose another address with --listen',
      cause: error,
    });
  }
  return new StoreError('STORE_REFUSED', `cannot listen on ${where}: ${message}`, { where, cause: error });
}

/** The address for clients on this machine; a service on all interfaces is reached through the loopback. */
export function reachableAddress(listen: ListenAddress, bound: AddressInfo | string | null): string {
  const port = typeof bound === 'object' && bound !== null ? bound.port : listen.port;
  const host = listen.host === '0.0.0.0' ? '127.0.0.1' : listen.host === '::' ? '::1' : listen.host;
  return `http://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}
