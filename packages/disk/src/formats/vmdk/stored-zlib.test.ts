import assert from 'node:assert/strict';
import { test } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { storedZlib } from './stored-zlib.ts';
import { GRAIN, noise } from './vmdk.testkit.ts';

test('zlib inflates stored bytes of any length to what they were', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (plain) => {
      assert.deepEqual(new Uint8Array(zlib.inflateSync(storedZlib(plain))), plain);
    }),
  );
  for (const length of [5551, 5552, 5553, 65534, 65535, 65536, 131070, 131071, 4 * GRAIN]) {
    for (const plain of [noise(length), new Uint8Array(length).fill(255)]) {
      assert.ok(zlib.inflateSync(storedZlib(plain)).equals(plain));
    }
  }
});

test('a stored grain fits the record that VirtualBox and VMware have room for', () => {
  assert.ok(storedZlib(noise(GRAIN)).length <= 129 * 512 - 12);
});
