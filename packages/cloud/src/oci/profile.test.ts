import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readOciProfile } from './profile.ts';

async function configured(t: TestContext, text: string): Promise<{ folder: string; file: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-oci-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, 'config');
  await writeFile(file, text.replaceAll('FOLDER', folder));
  await writeFile(join(folder, 'key.pem'), 'KEY\n');
  await writeFile(join(folder, 'token'), 'TOKEN\n');
  return { folder, file };
}

const environment = {};
const whole = 'user=u\nfingerprint=f\ntenancy=t\nregion=r\nkey_file=FOLDER/key.pem\n';

test('a profile says what it says, and DEFAULT the rest', async (t) => {
  const { file } = await configured(t, `# mine\n[DEFAULT]\n${whole}\r\n[OTHER]\nuser = v\npass_phrase=p\n`);
  const other = await readOciProfile({ profile: 'OTHER', file, environment });
  assert.deepEqual(other, {
    name: 'OTHER',
    file,
    tenancyId: 't',
    userId: 'v',
    fingerprint: 'f',
    privateKey: 'KEY\n',
    passphrase: 'p',
    region: 'r',
  });
  const named = await readOciProfile({ profile: 'DEFAULT', environment: { OCI_CONFIG_FILE: file } });
  assert.equal(named.userId, 'u');
});

test('the file in the home folder is read, its key also from ~ and from beside it', async (t) => {
  const { folder } = await configured(t, '');
  await writeFile(join(folder, 'config'), `[A]\n${whole.replace('FOLDER', '~')}`);
  const place = { profile: 'A', file: '~/config', environment: { HOME: folder } };
  assert.equal((await readOciProfile(place)).privateKey, 'KEY\n');
  await writeFile(join(folder, 'config'), `[A]\n${whole.replace('FOLDER/', '')}`);
  assert.equal((await readOciProfile(place)).privateKey, 'KEY\n');
});

test('a session goes by its token', async (t) => {
  const { file } = await configured(
    t,
    `[S]\n${whole.replace('user=u\n', '')}security_token_file=FOLDER/token\n`,
  );
  const { sessionToken, userId } = await readOciProfile({ profile: 'S', file, environment });
  assert.deepEqual([sessionToken, userId], ['TOKEN', '']);
});

test('what is missing is named, and no secret is shown', async (t) => {
  for (const [text, expected] of [
    ['[B]\n', { code: 'STORE_NOT_FOUND', message: /no OCI profile "A"/ }],
    [`[A]\n${whole.replace('user=u\n', '')}`, { code: 'STORE_REFUSED', message: /names no user/ }],
    [`[A]\n${whole.replace('region=r\n', '')}`, { code: 'STORE_REFUSED', message: /names no region/ }],
    [
      `[A]\n${whole}authentication_type=instance_principal\n`,
      { code: 'STORE_REFUSED', message: /instance_principal/ },
    ],
    [`[A]\n${whole.replace('key.pem', 'none.pem')}`, { code: 'STORE_NOT_FOUND', message: /none\.pem/ }],
    [`[A]\n${whole}secret\n`, { code: 'STORE_REFUSED', message: /neither \[NAME\] nor key=value/ }],
  ] as const) {
    const { file } = await configured(t, text);
    await assert.rejects(readOciProfile({ profile: 'A', file, environment }), expected);
  }
});
