import { generateKeyPair } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { ApiKey, User, WhoAmI } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { apiPath } from '../../client/paths.ts';
import { findUser } from '../../client/users.ts';
import type { Context } from '../../context.ts';
import { CommandError, usageError } from '../../errors/command-error.ts';
import { printable, shellWord } from '../../output/printable.ts';
import {
  freeName,
  hasProfile,
  makeSecretFolder,
  type OciProfile,
  readConfig,
  withProfile,
  writeConfig,
  writeSecret,
} from './config-file.ts';

interface SetupOptions {
  readonly user?: string;
  readonly dir?: string;
  readonly profileName: string;
  readonly force?: true;
}

const KEY_BITS = 2048;

export async function run(
  context: Context,
  _args: readonly [],
  { user: called, dir, profileName, force }: SetupOptions,
): Promise<undefined> {
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(profileName)) {
    throw usageError(`${JSON.stringify(profileName)} cannot be the name of a profile`);
  }
  const folder = resolve(dir ?? join(context.environment.HOME || homedir(), '.oci'));
  const file = join(folder, 'config');
  if (force !== true && hasProfile(await readConfig(file), profileName)) {
    throw new CommandError('CONFLICT', `there is a profile ${profileName} already`, {
      where: file,
      hint: 'choose another name with --profile-name, or replace it with --force',
    });
  }
  const client = await connect(context);
  const me = await client.json<WhoAmI>('GET', '/whoami');
  const user: User = called === undefined ? me.user : await findUser(client, called);

  const { publicKey, privateKey } = await promisify(generateKeyPair)('rsa', {
    modulusLength: KEY_BITS,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  await makeSecretFolder(folder);
  const keyFile = await freeName(folder, `${profileName.toLowerCase()}_api_key`, '.pem');
  await writeSecret(keyFile, privateKey);
  const path = apiPath('users', user.id, 'api-keys');
  const { fingerprint } = await client
    .json<ApiKey>('POST', path, { json: { publicKeyPem: publicKey } })
    .catch(async (error) => {
      await rm(keyFile, { force: true });
      throw error;
    });
  const profile: OciProfile = {
    user: user.ocid,
    fingerprint,
    tenancy: me.tenancy.ocid,
    region: me.region,
    key_file: keyFile,
  };
  try {
    // Read again: another program may have changed it meanwhile.
    await writeConfig(file, withProfile(await readConfig(file), profileName, profile));
  } catch (error) {
    await client.json('DELETE', `${path}${apiPath(fingerprint)}`).catch(() => {});
    await rm(keyFile, { force: true });
    throw error;
  }
  const endpoint = `${client.profile.endpoint}/oci`;
  await context.output.record(
    {
      profileName,
      configFile: file,
      endpoint,
      userName: user.name,
      namespace: me.tenancy.namespace,
      ...profile,
    },
    howToUse({ file, profileName, endpoint, user, keyFile, compartment: me.tenancy.ocid }),
  );
}

function howToUse(made: {
  readonly file: string;
  readonly profileName: string;
  readonly endpoint: string;
  readonly user: User;
  readonly keyFile: string;
  readonly compartment: string;
}): string[] {
  const { file, profileName, endpoint, compartment } = made;
  const quoted = JSON.stringify;
  return [
    `profile ${profileName} of ${printable(made.user.name)} in ${printable(file)}, its key in ${printable(made.keyFile)}`,
    '',
    'TypeScript, for every client of the SDK:',
    `  const authenticationDetailsProvider = new common.ConfigFileAuthenticationDetailsProvider(${quoted(file)}, ${quoted(profileName)});`,
    '  const client = new identity.IdentityClient({ authenticationDetailsProvider });',
    `  client.endpoint = ${quoted(endpoint)};`,
    'Python:',
    `  config = oci.config.from_file(${quoted(file)}, ${quoted(profileName)})`,
    `  client = oci.identity.IdentityClient(config, service_endpoint=${quoted(endpoint)})`,
    'OCI CLI:',
    `  oci --config-file ${shellWord(file)} --profile ${profileName} --endpoint ${endpoint} iam compartment list --compartment-id ${compartment}`,
  ];
}
