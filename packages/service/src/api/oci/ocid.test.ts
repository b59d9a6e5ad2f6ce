import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../../db/ids.ts';
import { compartmentOcid, fromOcid, inOcids, toOcid } from './ocid.ts';

test('an id becomes an OCID and comes back, of its own type only', () => {
  const image = newId('img');
  const ocid = toOcid('image', 'north', image);
  assert.match(ocid, /^ocid1\.image\.oc1\.north\.[0-9a-f]{32}$/);
  assert.equal(fromOcid(['image'], ocid), image);
  assert.equal(fromOcid(['instance'], ocid), undefined);
  const tenancy = newId('ten');
  assert.equal(compartmentOcid(tenancy), toOcid('tenancy', 'north', tenancy));
  assert.equal(fromOcid(['tenancy', 'compartment'], compartmentOcid(tenancy)), tenancy);
});

test('ids of ours in a text become the OCIDs that clients know, and nothing else changes', () => {
  const [image, volume, compartment] = [newId('img'), newId('vol'), newId('cmp')];
  const text = `image ${image} (of ${compartment}) has ${volume}; web-0123 and man-${'0'.repeat(32)} stay`;
  const imageOcid = toOcid('image', 'north', image);
  const volumeOcid = toOcid('bootvolume', 'north', volume);
  const told = `image ${imageOcid} (of ${compartmentOcid(compartment)}) has ${volumeOcid}; web-0123 and man-${'0'.repeat(32)} stay`;
  assert.equal(inOcids(text, 'north'), told);
});
