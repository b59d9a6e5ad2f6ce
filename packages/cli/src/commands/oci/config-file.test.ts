import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasProfile, withProfile } from './config-file.ts';

const profile = {
  user: 'ocid1.user.oc1..1',
  fingerprint: 'aa:bb',
  tenancy: 'ocid1.tenancy.oc1..1',
  region: 'local',
  key_file: '/k.pem',
};
const section =
  '[GANTRY]\nuser=ocid1.user.oc1..1\nfingerprint=aa:bb\ntenancy=ocid1.tenancy.oc1..1\nregion=local\nkey_file=/k.pem\n';

test('a profile is added behind those that stand there', () => {
  assert.equal(withProfile('', 'GANTRY', profile), section);
  const others = '# mine\n[DEFAULT]\nuser=x\n';
  assert.equal(withProfile(others, 'GANTRY', profile), `${others}\n${section}`);
  assert.equal(withProfile('[DEFAULT]\nuser=x', 'GANTRY', profile), `[DEFAULT]\nuser=x\n\n${section}`);
});

test('a profile takes the place of one of its name, and nothing else changes', () => {
  const before =
    '[DEFAULT]\nuser=x\n\n[GANTRY]\nuser=old\npass_phrase=y\n\n# about the next\n[OTHER]\nuser=z\n';
  const after = `[DEFAULT]\nuser=x\n\n${section}\n# about the next\n[OTHER]\nuser=z\n`;
  assert.equal(withProfile(before, 'GANTRY', profile), after);
  assert.equal(withProfile(after, 'GANTRY', profile), after);
  assert.equal(withProfile(`${section}`, 'GANTRY', profile), section);
});

test('a profile is known by its title alone', () => {
  assert.ok(hasProfile('[ GANTRY ]\n', 'GANTRY'));
  for (const text of ['', 'GANTRY', '# [GANTRY]', '[GANTRY2]', '[gantry]']) {
    assert.ok(!hasProfile(text, 'GANTRY'), text);
  }
});
