import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chosenValue } from './options.ts';

const option = { name: 'subformat', description: '', values: ['dynamic', 'fixed'] };
const asked = (options: Record<string, string>) => ({ options, seed: new Uint8Array(32), baseName: 'disk' });

test('an option that is not asked for takes its first value', () => {
  assert.equal(chosenValue(asked({}), option), 'dynamic');
  assert.equal(chosenValue(asked({ subformat: 'fixed' }), option), 'fixed');
});

test('a value that an option does not have is refused', () => {
  assert.throws(() => chosenValue(asked({ subformat: 'Fixed' }), option), {
    code: 'IMAGE_OPTION',
    hint: 'use one of dynamic, fixed',
  });
});
