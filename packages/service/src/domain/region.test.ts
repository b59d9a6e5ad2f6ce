import assert from 'node:assert/strict';
import { test } from 'node:test';
import { availabilityDomainOf, isOfPeer, makeRegion, peerHosts } from './region.ts';

test('a region has a name, peers and a key that is long enough', () => {
  const alone = makeRegion({});
  assert.deepEqual(alone, { name: 'local', peers: new Map(), realmKey: undefined });
  assert.equal(availabilityDomainOf(alone), 'local-ad-1');
  const peers = ['north=https://north.example/gantry/', 'west-2=http://10.0.0.1:7080'];
  const region = makeRegion({ name: 'eu-south-1', peers, realmKey: new Uint8Array(32) });
  assert.deepEqual(
    [...region.peers],
    [
      ['north', 'https://north.example/gantry'],
      ['west-2', 'http://10.0.0.1:7080'],
    ],
  );
  for (const name of ['', 'A', '1a', 'a--b', 'a-', 'a.b', 'a'.repeat(64)]) {
    assert.throws(() => makeRegion({ name }), { code: 'INVALID' }, name);
  }
  for (const peer of [
    'north',
    'north=',
    'north=ftp://x',
    'north=http://x?y',
    'No=http://x',
    'local=http://x',
  ]) {
    assert.throws(() => makeRegion({ peers: [peer] }), { code: 'INVALID' }, peer);
  }
  assert.throws(() => makeRegion({ peers: ['a=http://x', 'a=http://y'] }), { code: 'INVALID' });
  assert.throws(() => makeRegion({ realmKey: new Uint8Array(31) }), { code: 'INVALID' });
});

test('of the host of another region only its service is trusted', () => {
  const region = makeRegion({ peers: ['a=http://10.0.0.5', 'b=https://[fd00::1]/north/', 'c=http://x:81'] });
  assert.deepEqual(peerHosts(region), ['10.0.0.5:80', '[fd00::1]:443', 'x:81']);
  const isTrusted = (url: string) => isOfPeer(region, new URL(url));
  assert.ok(isTrusted('http://10.0.0.5/oci/p/x') && isTrusted('https://[fd00::1]/north/oci/p/x'));
  for (const url of [
    'http://10.0.0.5:8080/oci/p/x',
    'https://10.0.0.5/oci/p/x',
    'https://[fd00::1]/south/oci/p/x',
    'https://[fd00::1]/north/../south/x',
    'https://[fd00::1]/northern/x',
    'http://x:8100/',
  ]) {
    assert.ok(!isTrusted(url), url);
  }
});
