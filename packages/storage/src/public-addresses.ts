import { BlockList, isIP } from 'node:net';

/**
 * Ranges of IPv4 that are not somebody's host on the Internet: the IANA IPv4 Special-Purpose Address Registry
 * (RFC 6890 and its updates), multicast (RFC 5771) and the reserved last sixteenth (RFC 1112).
 */
const specialIpv4 = [
  '0.0.0.0/8', // this network, unspecified
  '10.0.0.0/8', // private
  '100.64.0.0/10', // behind a carrier's NAT
  '127.0.0.0/8', // loopback
  '169.254.0.0/16', // link-local, where clouds serve metadata
  '172.16.0.0/12', // private
  '192.0.0.0/24', // IETF protocol assignments
  '192.0.2.0/24', // documentation
  '192.88.99.0/24', // 6to4 relays
  '192.168.0.0/16', // private
  '198.18.0.0/15', // benchmarks
  '198.51.100.0/24', // documentation
  '203.0.113.0/24', // documentation
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved, broadcast
];

/** The one range of IPv6 from which hosts' addresses are given: RFC 4291, section 2.4, and RFC 3587. */
const globalIpv6 = ['2000::/3'];

/**
 * Parts of it that are not hosts' addresses. Outside of it lie loopback, unspecified, link-local, unique local,
 * multicast, IPv4-mapped and the NAT64 prefixes.
 */
const specialIpv6 = [
  '2001::/23', // IETF protocol assignments, among them Teredo, which carries an IPv4 address
  '2001:db8::/32', // documentation
  '2002::/16', // 6to4, which carries an IPv4 address
  '3fff::/20', // documentation
];

const ipv4 = addressSet(specialIpv4);
const ipv6 = addressSet(globalIpv6);
const ipv6Special = addressSet(specialIpv6);

/** True for an IP address that a host on the public Internet can have. */
export function isPublicAddress(address: string): boolean {
  if (isIP(address) === 4) return !contains(ipv4, address);
  return isIP(address) === 6 && contains(ipv6, address) && !contains(ipv6Special, address);
}

/** Subnets such as `10.0.0.0/8` as a set of addresses. Throws TypeError for anything else. */
export function addressSet(subnets: readonly string[]): BlockList {
  const set = new BlockList();
  for (const subnet of subnets) {
    const [, network = '', length = ''] = /^([0-9a-fA-F.:]+)\/(\d{1,3})$/.exec(subnet) ?? [];
    const family = isIP(network);
    if (family === 0 || Number(length) > (family === 4 ? 32 : 128)) {
      throw new TypeError(`${JSON.stringify(subnet)} is not a subnet such as 10.0.0.0/8 or fd00::/8`);
    }
    set.addSubnet(network, Number(length), family === 4 ? 'ipv4' : 'ipv6');
  }
  return set;
}

/** True when an IP address is in the set. */
export function contains(set: BlockList, address: string): boolean {
  return set.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}
