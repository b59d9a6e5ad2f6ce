import { type AddressInfo, isIPv6 } from 'node:net';
import { StoreError } from '@gantry/disk';
import { DomainError } from './domain/errors.ts';

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** Reads HOST:PORT, with an IPv6 address in brackets. Throws INVALID. */
export function parseListen(text: string): ListenAddress {
  const [, bracketed, plain, portText] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(portText);
  if (host !== undefined && port <= 65535) return { host, port };
  throw new DomainError('INVALID', `${JSON.stringify(text)} is no address to listen on`, {
    hint: 'give HOST:PORT, such as 127.0.0.1:7080 or [::1]:7080',
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
