import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { ConfigFileAuthenticationDetailsProvider } from 'oci-common';
import { IdentityClient } from 'oci-identity';
import { root } from '../house/files.ts';
import { startServiceWithOci } from './oci.testkit.ts';

test('the SDK signs with the profile that gantry oci setup writes', async (t) => {
  const { running, dataFolder, admin } = await startServiceWithOci(t);
  const dir = join(dataFolder, 'dot-oci');
  const command = join(root, 'packages/cli/bin/gantry.cjs');
  const args = ['oci', 'setup', '--dir', dir, '-o', 'json', '--profile', running.profilePath];
  const { stdout } = await promisify(execFile)(process.execPath, ['--conditions=source', command, ...args]);
  const { configFile, profileName, endpoint } = JSON.parse(stdout);
  const authenticationDetailsProvider = new ConfigFileAuthenticationDetailsProvider(configFile, profileName);
  const client = new IdentityClient({ authenticationDetailsProvider });
  t.after(() => client.close());
  client.endpoint = endpoint;
  const { user } = await client.getUser({ userId: authenticationDetailsProvider.getUser() });
  assert.deepEqual([user.id, user.name], [admin.userId, 'admin']);
});
