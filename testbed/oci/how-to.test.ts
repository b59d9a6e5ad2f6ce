import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { readProjectFile, root } from '../house/files.ts';
import { startServiceWithOci } from './oci.testkit.ts';

const run = promisify(execFile);

test('the commands and the program of the page about the SDK do what it says', async (t) => {
  const page = readProjectFile('docs/how-to/use-the-oci-sdk.md');
  const { running, dataFolder } = await startServiceWithOci(t);
  const environment = { ...process.env, HOME: dataFolder, GANTRY_PROFILE: running.profilePath };
  const shell = [...page.matchAll(/^```sh\n([\s\S]*?)^```/gm)].flatMap(([, block = '']) =>
    block.trim().split('\n'),
  );
  const commands = shell.filter((line) => line.startsWith('gantry ') && !line.includes(' serve '));
  assert.equal(commands.length, 5);
  for (const line of commands) {
    const [, ...words] = line.split(' ');
    const command = join(root, 'packages/cli/bin/gantry.cjs');
    await run(process.execPath, ['--conditions=source', command, ...words], {
      env: environment,
      cwd: dataFolder,
    });
  }
  const [, program = ''] = /^```js\n([\s\S]*?)^```/m.exec(page) ?? [];
  // As in a project of its own that has the SDK.
  await symlink(join(root, 'node_modules'), join(dataFolder, 'node_modules'));
  const file = join(dataFolder, 'try.mjs');
  await writeFile(file, program);
  const OCI_CONFIG = join(dataFolder, '.oci/config');
  const { stdout } = await run(process.execPath, [file], {
    env: { ...environment, OCI_CONFIG, GANTRY_OCI: running.ociEndpoint },
  });
  assert.match(stdout, /^from-the-sdk ocid1\.compartment\.oc1\.\.\S+$/m);
  assert.match(stdout, /^builds ocid1/m);
});
