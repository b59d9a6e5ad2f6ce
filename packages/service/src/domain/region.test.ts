import assert from 'node:assert/strict';
import { test } from 'node:test';
import { availabilityDomainOf, makeRegion } from './region.ts';

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
