import { isIP } from 'node:net';
import { addressSet, contains } from './public-addresses.ts';

/** What an operator opened beyond the public Internet. */
export interface AllowList {
  /** True when the host, under any address that it has, may be reached at this port. */
  allowsHost(host: string, port: number): boolean;
  /** True when the IP address may be reached at this port, whatever its host is called. */
  allowsAddress(address: string, port: number): boolean;
}

/**
 * Reads entries of a configuration: a host (`minio.lan`), an IP address, either with a port (`minio.lan:9000`,
 * `[fd00::1]:9000`), or a subnet (`10.0.0.0/8`). Without a port every port is meant. Throws TypeError for
 * anything else.
 */
export function parseAllowList(entries: readonly string[]): AllowList {
  const subnets = addressSet(entries.filter((entry) => entry.includes('/')));
  const places = entries.filter((entry) => !entry.includes('/')).map(parsePlace);
  const allows = (host: string, port: number) =>
    places.some((place) => place.host === host && (place.port === undefined || place.port === port));
  return {
    allowsHost: (host, port) => allows(host.toLowerCase(), port),
    allowsAddress: (address, port) => allows(address, port) || contains(subnets, address),
  };
}

interface Place {
  readonly host: string;
  readonly port: number | undefined;
}

function parsePlace(entry: string): Place {
  const bare = isIP(entry) === 6 ? `[${entry}]` : entry;
  const [, host, port] = /^(\[[^\]]+\]|[^:[\]@?#\s]+)(?::(\d{1,5}))?$/.exec(bare) ?? [];
  // The URL parser writes every form of an address in one way, as it does for the addresses that are asked for.
  const url = host === undefined ? null : URL.parse(`http://${host}/`);
  if (url === null || Number(port ?? 0) > 65535) {
    throw new TypeError(`${JSON.stringify(entry)} is not a host, a host with a port, or a subnet`);
  }
  return { host: hostOf(url), port: port === undefined ? undefined : Number(port) };
}

/** An address's host in lower case; an IPv6 address without its brackets. */
export function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1');
}
