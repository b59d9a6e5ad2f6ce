import { StoreError } from '../errors.ts';
import type { SocketAddress } from '../io/byte-channel.ts';
import { NBD_PORT } from './protocol.ts';

/** An export as an address names it (doc/uri.md of the NBD project). */
export interface NbdAddress {
  readonly socket: SocketAddress;
  /** Empty for the default export. */
  readonly exportName: string;
}

/** True for what is meant to be the address of an NBD export. */
export function isNbdAddress(text: string): boolean {
  return /^nbds?(\+[a-z]+)?:/i.test(text);
}

/**
 * `nbd://HOST[:PORT]/EXPORT` or `nbd+unix:///EXPORT?socket=PATH`. Throws STORE_REFUSED for all other, those with
 * TLS (`nbds:`) among them.
 */
export function parseNbdAddress(text: string): NbdAddress {
  const url = URL.parse(text);
  const refuse = (message: string, hint?: string): never => {
    throw new StoreError('STORE_REFUSED', `${text}: ${message}`, { where: text, hint });
  };
  if (url === null || !isNbdAddress(text)) return refuse('this is not the address of an NBD export');
  if (/^nbds/.test(url.protocol)) {
    return refuse('NBD over TLS is not spoken here', 'lead the connection through ssh or another tunnel');
  }
  const exportName =
    decoded(url.pathname.replace(/^\//, '')) ?? refuse('the name of the export is not UTF-8');
  const others = [...url.searchParams.keys()].filter((key) => key !== 'socket');
  if (others[0] !== undefined) return refuse(`the parameter ${JSON.stringify(others[0])} is not known`);
  const path = url.searchParams.get('socket');
  if (url.protocol === 'nbd+unix:') {
    if (path === null || path === '') return refuse('the parameter socket is missing');
    if (url.host !== '') return refuse('a Unix socket has no host', 'write nbd+unix:///EXPORT?socket=PATH');
    return { socket: { kind: 'unix', path }, exportName };
  }
  if (url.protocol !== 'nbd:') return refuse(`there is no ${url.protocol}`, 'use nbd: or nbd+unix:');
  if (path !== null) return refuse('the parameter socket is for nbd+unix:');
  if (url.hostname === '') return refuse('the host is missing', 'write nbd://HOST:PORT/EXPORT');
  if (url.username !== '' || url.password !== '') return refuse('NBD without TLS knows no users');
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return { socket: { kind: 'tcp', host, port: url.port === '' ? NBD_PORT : Number(url.port) }, exportName };
}

/** The address of an export, as `parseNbdAddress` reads it. */
export function nbdAddressText({ socket, exportName }: NbdAddress): string {
  const path = encodeURIComponent(exportName).replaceAll('%2F', '/');
  if (socket.kind === 'unix') {
    return `nbd+unix:///${path}?socket=${encodeURIComponent(socket.path).replaceAll('%2F', '/')}`;
  }
  const host = socket.host.includes(':') ? `[${socket.host}]` : socket.host;
  const port = socket.port === NBD_PORT ? '' : `:${socket.port}`;
  return `nbd://${host}${port}${path === '' ? '' : `/${path}`}`;
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
