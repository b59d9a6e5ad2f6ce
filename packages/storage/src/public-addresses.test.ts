import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { isPublicAddress } from './public-addresses.ts';

const octet = fc.nat(255);
const group = fc.nat(0xffff);
const ipv4 = fc.tuple(octet, octet, octet, octet).map((octets) => octets.join('.'));
const ipv6Text = (groups: readonly number[]) => groups.map((value) => value.toString(16)).join(':');
const ipv6 = fc.array(group, { minLength: 8, maxLength: 8 }).map(ipv6Text);
const globalIpv6 = fc
  .tuple(fc.integer({ min: 0x2000, max: 0x3fff }), fc.array(group, { minLength: 7, maxLength: 7 }))
  .map(([first, rest]) => ipv6Text([first, ...rest]));

/** Addresses with a fixed beginning: octets of IPv4, then anything. */
const inside = (...first: fc.Arbitrary<number>[]) =>
  fc
    .tuple(fc.tuple(...first), fc.array(octet, { minLength: 4 - first.length, maxLength: 4 - first.length }))
    .map(([start, rest]) => [...start, ...rest].join('.'));
const is = (value: number) => fc.constant(value);
const between = (min: number, max: number) => fc.integer({ min, max });

const insideClasses = {
  'this network': inside(is(0)),
  loopback: inside(is(127)),
  'private 10/8': inside(is(10)),
  'private 172.16/12': inside(is(172), between(16, 31)),
  'private 192.168/16': inside(is(192), is(168)),
  'link-local and metadata': inside(is(169), is(254)),
  'carrier NAT': inside(is(100), between(64, 127)),
  benchmarks: inside(is(198), between(18, 19)),
  'multicast and reserved': inside(between(224, 255)),
};

for (const [name, addresses] of Object.entries(insideClasses)) {
  test(`no IPv4 address for ${name} is public, however it is carried`, () => {
    fc.assert(
      fc.property(addresses, (address) => {
        const octets = address.split('.').map(Number);
        const [high, low] = [octets[0]! * 256 + octets[1]!, octets[2]! * 256 + octets[3]!];
        const carried = [
          address,
          `::ffff:${address}`, // mapped
          `::${address}`, // compatible, deprecated
          `64:ff9b::${address}`, // NAT64
          ipv6Text([0x64, 0xff9b, 1, 0, 0, 0, high, low]), // local NAT64
          ipv6Text([0x2002, high, low, 0, 0, 0, 0, 1]), // 6to4
          ipv6Text([0x2001, 0, 0, 0, 0, 0, high ^ 0xffff, low ^ 0xffff]), // Teredo
        ];
        for (const form of carried) assert.equal(isPublicAddress(form), false, form);
      }),
    );
  });
}

test('no IPv6 address outside 2000::/3 is public', () => {
  fc.assert(
    fc.property(ipv6, (address) => {
      const first = Number.parseInt(address, 16);
      fc.pre(first < 0x2000 || first > 0x3fff);
      assert.equal(isPublicAddress(address), false, address);
    }),
  );
  for (const address of ['::', '::1', 'fe80::1', 'fc00::1', 'fd00:ec2::254', 'ff02::1']) {
    assert.equal(isPublicAddress(address), false, address);
  }
});

test('hosts on the Internet are public', () => {
  const addresses = ['1.1.1.1', '8.8.8.8', '100.63.255.255', '100.128.0.0', '172.15.0.1', '172.32.0.1'];
  for (const address of [...addresses, '192.167.1.1', '223.255.255.255', '2606:4700::1111', '2a00:1450::1']) {
    assert.equal(isPublicAddress(address), true, address);
  }
});

test('what is no IP address is not public', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      fc.pre(!/^[0-9a-fA-F.:]+$/.test(text));
      assert.equal(isPublicAddress(text), false);
    }),
  );
});

test("every address that is public here is global to Python's ipaddress too", () => {
  const sample = [
    ...fc.sample(ipv4, 20_000),
    ...fc.sample(fc.oneof(ipv6, globalIpv6), 5_000),
    ...Object.values(insideClasses).flatMap((addresses) => fc.sample(addresses, 100)),
  ].filter(isPublicAddress);
  assert.ok(sample.length > 10_000);
  const script = [
    'import sys, ipaddress',
    'for line in sys.stdin.read().split():',
    '    address = ipaddress.ip_address(line)',
    '    if not address.is_global or address.is_multicast or address.is_reserved: print(line)',
  ].join('\n');
  const others = execFileSync('python3', ['-c', script], { input: sample.join('\n'), encoding: 'utf8' });
  assert.equal(others, '');
});
