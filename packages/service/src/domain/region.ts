import { DomainError } from './errors.ts';

/** This service among others of the same operator: each is a region of one realm. */
export interface Region {
  readonly name: string;
  /** Other regions: their names, and the addresses of their services without a slash at the end. */
  readonly peers: ReadonlyMap<string, string>;
  /** What the services of a realm share, to ask each other on behalf of a user. */
  readonly realmKey: Uint8Array | undefined;
}

export interface RegionSettings {
  readonly name?: string | undefined;
  /** NAME=URL each. */
  readonly peers?: readonly string[] | undefined;
  readonly realmKey?: Uint8Array | undefined;
}

/** As OCI's are: part of ids and of names of availability domains. */
const NAME = /^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/;
const NAME_CHARACTERS_MAX = 63;
/** As many bytes as HMAC-SHA256 makes of a longer one (RFC 2104, section 3). */
const REALM_KEY_BYTES_MIN = 32;

/** Throws INVALID for names that are none, addresses that are none, and a key that is too short. */
export function makeRegion({ name = 'local', peers = [], realmKey }: RegionSettings): Region {
  requireName(name);
  const known = new Map<string, string>();
  for (const peer of peers) {
    const [, peerName = '', address = ''] = /^([^=]*)=(.*)$/.exec(peer) ?? [];
    requireName(peerName);
    const url = URL.parse(address);
    if (url === null || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '') {
      throw new DomainError('INVALID', `${JSON.stringify(peer)} names no other region`, {
        hint: 'give NAME=URL, such as north=https://north.example.org',
      });
    }
    if (peerName === name || known.has(peerName)) {
      throw new DomainError('INVALID', `there are two regions ${peerName}`, {
        hint: 'a service and its peers each have a name of their own: --region gives one to this service',
      });
    }
    known.set(peerName, `${url.origin}${url.pathname.replace(/\/+$/, '')}`);
  }
  if (realmKey !== undefined && realmKey.length < REALM_KEY_BYTES_MIN) {
    throw new DomainError('INVALID', `a realm key has at least ${REALM_KEY_BYTES_MIN} bytes`, {
      hint: 'make one with openssl rand -out realm.key 32',
    });
  }
  return { name, peers: known, realmKey };
}

function requireName(name: string): void {
  if (name.length <= NAME_CHARACTERS_MAX && NAME.test(name)) return;
  throw new DomainError('INVALID', `${JSON.stringify(name)} cannot be a region's name`, {
    hint: 'take small letters, digits and single hyphens, such as eu-north-1',
  });
}

/** The other regions for a net guard: HOST:PORT each, so that nothing else on their hosts may be reached. */
export function peerHosts({ peers }: Region): string[] {
  return [...peers.values()].map((address) => {
    const { protocol, hostname, port } = new URL(address);
    return `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`;
  });
}

/** Whether an address is below that of another region's service: what else its host answers is a stranger's. */
export function isOfPeer({ peers }: Region, url: URL): boolean {
  return [...peers.values()].some((address) => url.href.startsWith(`${address}/`));
}

/** The one availability domain of a region: this service knows nothing of its machines' racks. */
export function availabilityDomainOf({ name }: Region): string {
  return `${name}-ad-1`;
}
