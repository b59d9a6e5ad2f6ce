import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memorySource } from '../io/memory.ts';
import { denyReferences, type Reference, suppliedReferences } from './reference-gate.ts';

const reference: Reference = {
  kind: 'backing file',
  name: 'base.qcow2',
  format: 'qcow2',
  structure: 'backing file name',
};

test('a denied reference is refused with its name and where it stands', async () => {
  await assert.rejects(denyReferences.resolve(reference), {
    code: 'IMAGE_REFERENCE',
    structure: 'backing file name',
    message: /"base\.qcow2"/,
  });
});

test('a supplied reference is what the caller means by exactly this name', async () => {
  const source = memorySource(new Uint8Array(1));
  const gate = suppliedReferences(new Map([['base.qcow2', async () => ({ source, format: 'raw' })]]));
  assert.deepEqual(await gate.resolve(reference), { source, format: 'raw' });
  for (const name of ['BASE.qcow2', './base.qcow2', 'base.qcow2\0', '__proto__', '']) {
    await assert.rejects(gate.resolve({ ...reference, name }), { code: 'IMAGE_REFERENCE' });
  }
});

test('a name with control characters is shown without them', async () => {
  const name = 'a\u001b[31m\n';
  await assert.rejects(denyReferences.resolve({ ...reference, name }), (error: Error) => {
    assert.ok([...error.message].every((character) => character >= ' '));
    return true;
  });
});
