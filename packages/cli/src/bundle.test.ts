import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gantry, launcher, temporaryFolder } from './command.testkit.ts';

const { compiledOf, currentBundle } = (await import(
  new URL('../bin/current-bundle.cjs', import.meta.url).href
)) as {
  compiledOf(folder: string): string;
  currentBundle(root: string): string | undefined;
};
const root = fileURLToPath(new URL('../../../', import.meta.url));

test('a bundle is current as long as nobody has touched what it was made from', async (t) => {
  const project = await temporaryFolder(t);
  const source = join(project, 'source.ts');
  const home = join(project, 'node_modules/.cache/gantry/bundle');
  await mkdir(home, { recursive: true });
  await writeFile(source, 'one');
  assert.equal(currentBundle(project), undefined);
  const { size, mtimeMs } = await stat(source);
  const record = { folder: 'made', inputs: [['source.ts', size, mtimeMs]] };
  await writeFile(join(home, 'current.json'), JSON.stringify(record));
  assert.equal(currentBundle(project), undefined, 'it is not there');
  await mkdir(join(home, 'made'));
  await writeFile(join(home, 'made', 'main.js'), '');
  assert.equal(currentBundle(project), join(home, 'made'));
  await utimes(source, new Date(), new Date(mtimeMs + 1));
  assert.equal(currentBundle(project), undefined, 'another time');
  await writeFile(source, 'more');
  await utimes(source, new Date(), new Date(mtimeMs));
  assert.equal(currentBundle(project), undefined, 'another length');
  await rm(source);
  assert.equal(currentBundle(project), undefined, 'none');
});

test('the set-up makes a bundle that runs as the sources do, and loads none of them', async (t) => {
  execFileSync(process.execPath, [join(root, 'packages/cli/bundle.mjs')]);
  const bundle = currentBundle(root);
  assert.ok(bundle !== undefined);
  // What other verbs need would be read at every start.
  const { inputs } = JSON.parse(await readFile(join(dirname(bundle), 'current.json'), 'utf8')) as {
    inputs: readonly [path: string][];
  };
  assert.deepEqual(
    inputs.filter(([path]) => /^packages[\\/](?:cloud|service|storage)[\\/]/.test(path)),
    [],
  );
  const folder = await temporaryFolder(t);
  const disk = join(folder, 'disk.raw');
  await writeFile(disk, new Uint8Array(24 * 1024 * 1024).fill(7));
  const hooks = `import { registerHooks } from 'node:module';
    registerHooks({ load(url, context, next) { process._rawDebug(url); return next(url, context); } });`;
  const node = [
    process.execPath,
    '--conditions=source',
    '--import',
    `data:text/javascript,${encodeURI(hooks)}`,
  ];
  const { stderr } = await gantry(['disk', 'info', disk], { node });
  const loaded = stderr.split('\n').filter((url) => url.startsWith('file:'));
  assert.deepEqual(
    loaded.map((url) => fileURLToPath(url)).filter((path) => dirname(path) !== dirname(launcher)),
    [],
  );
  // What the first run compiled is there for those that follow.
  const compiled = compiledOf(bundle);
  assert.ok(existsSync(compiled));
  // One that is cut, or of other flags, is made anew.
  await writeFile(compiled, (await readFile(compiled)).subarray(0, 4096));
  assert.equal((await gantry(['disk', 'info', disk])).code, 0);
  assert.ok((await stat(compiled)).size > 100_000);
  // The accelerator is found, and from wherever the project may have been moved to.
  const required = { environment: { GANTRY_NATIVE: 'required' } };
  assert.equal((await gantry(['disk', 'map', disk], required)).code, 0);
  assert.ok(!(await readFile(join(bundle, 'main.js'), 'utf8')).includes(join(root, 'packages/native')));
  // Long enough for threads, which are of the bundle too.
  for (const args of [
    ['convert', disk, join(folder, 'out.qcow2'), '--compress', 'zlib'],
    ['info', disk, '-o', 'json'],
    ['info', join(folder, 'none')],
    ['convert', disk],
    ['--help'],
  ]) {
    const [bundled, plain] = [
      await gantry(['disk', ...args]),
      await gantry(['disk', ...args], { environment: { GANTRY_DEBUG: '1' } }),
    ];
    assert.equal(bundled.code, plain.code);
    assert.equal(bundled.stdout, plain.stdout);
    // With the stack behind it.
    assert.ok(plain.stderr.startsWith(bundled.stderr), plain.stderr);
  }
  assert.ok((await readFile(join(folder, 'out.qcow2'))).length > 0);
});
