import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import packageFile from '../package.json' with { type: 'json' };
import { gantry, launcher, run, startGantry, temporaryFolder } from './command.testkit.ts';
import { rangeServer, sampleDisk } from './commands/disk/images.testkit.ts';

const MIB = 1024 * 1024;

/** Every Node in PATH: the project's own and, where there is one, that of the distribution. */
const nodes = [
  ...new Set([
    process.execPath,
    ...(process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'node')),
  ]),
].filter(existsSync);

test('the command starts under every Node that there is, with and without the flag', async () => {
  for (const node of nodes) {
    for (const flags of [[], ['--conditions=source']]) {
      const { code, stdout, stderr } = await gantry(['--version'], { node: [node, ...flags] });
      assert.equal(code, 0, stderr);
      assert.equal(stdout, `${packageFile.version}\n`);
      assert.equal(stderr, '');
    }
  }
});

test('the command runs as a program, also through a link in another folder', async (t) => {
  const link = join(await temporaryFolder(t), 'gantry');
  await symlink(launcher, link);
  for (const program of [launcher, link]) {
    const { code, stdout } = await run(program, ['--version']);
    assert.equal(code, 0);
    assert.equal(stdout, `${packageFile.version}\n`);
  }
});

test('a verb loads what it needs and no more: no service to look at a disk, no engine for the help', async (t) => {
  const folder = await temporaryFolder(t);
  const disk = join(folder, 'disk.raw');
  await writeFile(disk, new Uint8Array(512));
  const hooks = `import { registerHooks } from 'node:module';
    registerHooks({ load(url, context, next) { process._rawDebug(url); return next(url, context); } });`;
  const node = [
    process.execPath,
    '--conditions=source',
    '--import',
    `data:text/javascript,${encodeURI(hooks)}`,
  ];
  const loaded = async (...args: string[]) => {
    // From the sources: a bundle is one file.
    const { code, stderr } = await gantry(args, { node, environment: { GANTRY_DEBUG: '1' } });
    assert.equal(code, 0, stderr);
    return stderr.split('\n').filter((url) => url.startsWith('file:'));
  };
  const forInfo = await loaded('disk', 'info', disk);
  assert.ok(forInfo.some((url) => url.includes('/packages/disk/')));
  assert.deepEqual(
    forInfo.filter((url) => /\/packages\/(?:service|storage)\//.test(url)),
    [],
  );
  const forHelp = await loaded('image', 'import', '--help');
  assert.ok(forHelp.some((url) => url.endsWith('/commands/image/grammar.ts')));
  assert.deepEqual(
    forHelp.filter((url) => /\/packages\/(?:disk|service|storage)\//.test(url)),
    [],
  );
});

test('exit status, arguments and signals pass through a start under another Node', async (t) => {
  const folder = await temporaryFolder(t);
  const odd = join(folder, 'a b "c" $d.raw');
  await writeFile(odd, new Uint8Array(512));
  for (const node of nodes) {
    const info = await gantry(['disk', 'info', odd, '-o', 'json'], { node: [node] });
    assert.equal(JSON.parse(info.stdout).file, odd);
    assert.equal((await gantry(['disk', 'info', join(folder, 'none')], { node: [node] })).code, 5);

    const server = await rangeServer(t, sampleDisk(), 5 * MIB);
    const target = join(folder, 'out.qcow2');
    const running = startGantry(['disk', 'convert', server.address, target], { node: [node] });
    await server.held;
    running.child.kill('SIGINT');
    const { code, stderr } = await running.ended;
    assert.equal(code, 130, stderr);
    assert.ok(!existsSync(target));
  }
});
