import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { swapGuidFields, uuidFromHash, uuidText } from './guid.ts';

const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });

test('a UUID from a hash has the version and variant of RFC 9562 and 122 bits of the hash', () => {
  fc.assert(
    fc.property(hash, (bytes) => {
      const uuid = uuidFromHash(bytes);
      assert.match(uuidText(uuid), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      for (let i = 0; i < 16; i++) {
        const mask = i === 6 ? 0x0f : i === 8 ? 0x3f : 0xff;
        assert.equal((uuid[i] ?? 0) & mask, (bytes[i] ?? 0) & mask);
      }
    }),
  );
});

test('the text form prints the bytes in order', () => {
  const bytes = Uint8Array.from({ length: 16 }, (_, i) => i * 17);
  assert.equal(uuidText(bytes), '00112233-4455-6677-8899-aabbccddeeff');
});

test('the mixed-endian form of a GUID is the one that Microsoft prints', () => {
  // The VHDX BAT region: 2DC27766-F623-4200-9D64-115E9BFD4A08 in text, this on disk.
  const onDisk = Uint8Array.from(Buffer.from('6677c22d23f600429d64115e9bfd4a08', 'hex'));
  assert.equal(uuidText(swapGuidFields(onDisk)), '2dc27766-f623-4200-9d64-115e9bfd4a08');
  assert.deepEqual(swapGuidFields(swapGuidFields(onDisk)), onDisk);
});
