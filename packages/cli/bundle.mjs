// Makes one file of everything that `gantry disk` runs, and one of its threads: the command starts in half the time
// that its sources take. bin/gantry.cjs uses it as long as it is current, and the sources otherwise.
//
// Plain JavaScript, so that the Node of a distribution (20) runs it as well as the project's own. It never fails:
// without a bundle the command is slower, and the same.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleHome, currentBundle } from './bin/current-bundle.cjs';

const script = fileURLToPath(import.meta.url);
const root = join(dirname(script), '..', '..');
const home = bundleHome(root);
const MIB = 2 ** 20;
const RUN_MS = 60 * 1000;
/** A command that still runs may ask for its bundle's thread. */
const KEPT_MS = 24 * 60 * 60 * 1000;

/** The engine's worker lies beside its caller, as in the built package. */
const entryPoints = {
  main: join(root, 'packages/cli/src/main.ts'),
  'node-work-worker': join(root, 'packages/disk/src/io/node-work-worker.ts'),
};
const native = join(root, 'packages/native/package.json');
/** What decides how the sources are put together, besides themselves. */
const settings = [
  script,
  native,
  ...['packages/cli/package.json', 'packages/disk/package.json', 'tsconfig.json'].map((path) =>
    join(root, path),
  ),
];

/** `import.meta` does not exist in CommonJS, which starts sooner than modules do. To look for the addon takes 1 ms. */
const preludeWith = (addon) => `'use strict';
const bundleUrl = require('node:url').pathToFileURL(__filename).href;
const bundlePaths = ${JSON.stringify({ '@gantry/native': addon })};
const bundlePath = (name) =>
  name in bundlePaths ? require('node:path').join(__dirname, bundlePaths[name]) : require.resolve(name);
const bundleResolve = (name) => require('node:url').pathToFileURL(bundlePath(name)).href;
const later = (name) => new Proxy({}, { get: (_, key) => require(name)[key] });`;
/** Modules of Node's that take milliseconds to load, and that most conversions do without. */
const LOADED_LATER = /require\("(node:(?:child_process|crypto|stream|timers\/promises|util|zlib))"\)/g;

/** Verbs that talk to a service, or are one, are run from their sources: nobody waits for their start. */
const otherVerbs = {
  name: 'other verbs',
  setup(build) {
    build.onResolve({ filter: /^\.\// }, ({ kind, importer, path }) => {
      const isOther = /[\\/]commands[\\/](?!disk[\\/])/.test(importer);
      return kind === 'dynamic-import' && isOther
        ? { path: join(dirname(importer), path), external: true }
        : undefined;
    });
  },
};

if (currentBundle(root) === undefined) {
  try {
    await make();
  } catch (error) {
    console.error(`The command is not bundled, and starts slower: ${error.message}`);
  }
}
const current = currentBundle(root);
if (current !== undefined && !isCompiled(current)) runOnce();

async function make() {
  const { build } = await import('esbuild');
  // Built or not; as seen from a bundle's folder, since a project may be moved with all that is in it.
  const built = join(dirname(native), JSON.parse(readFileSync(native, 'utf8')).exports['.']);
  const addon = relative(join(home, 'folder'), built);
  const startedMs = Date.now();
  const { outputFiles, metafile } = await build({
    entryPoints,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node26',
    conditions: ['source'],
    define: { 'import.meta.url': 'bundleUrl', 'import.meta.resolve': 'bundleResolve' },
    banner: { js: preludeWith(addon) },
    plugins: [otherVerbs],
    absWorkingDir: root,
    outdir: home,
    write: false,
    minify: true,
    metafile: true,
    logLevel: 'silent',
  });
  const paths = [...Object.keys(metafile.inputs).map((path) => join(root, path)), ...settings];
  const inputs = paths.map((path) => {
    const { size, mtimeMs } = statSync(path);
    // Edited meanwhile: nobody can say what was read. The next start of the set-up makes it.
    if (mtimeMs >= startedMs) throw new Error(`${path} has just been changed`);
    return [relative(root, path), size, mtimeMs];
  });
  install(
    outputFiles.map(({ path, text }) => ({
      name: relative(home, path),
      text: text.replaceAll(LOADED_LATER, 'later("$1")'),
    })),
    inputs,
  );
}

/** Whether somebody has run it, with the Node that the command takes, which may not be this one. */
function isCompiled(folder) {
  return readdirSync(folder).some((name) => name.endsWith(`-${process.arch}.compiled`));
}

/**
 * The first to run the bundle keeps what it compiled: a conversion has the most to compile. When it fails, some other
 * command is the first.
 */
function runOnce() {
  let folder;
  try {
    folder = mkdtempSync(join(tmpdir(), 'gantry-bundle-'));
    const disk = join(folder, 'disk.raw');
    writeFileSync(disk, new Uint8Array(MIB).fill(1));
    const launcher = join(root, 'packages/cli/bin/gantry.cjs');
    const args = [launcher, 'disk', 'convert', disk, join(folder, 'disk.qcow2')];
    spawnSync(process.execPath, args, { stdio: 'ignore', timeout: RUN_MS });
  } catch {
    // No room for temporary files.
  } finally {
    if (folder !== undefined) rmSync(folder, { recursive: true });
  }
}

/** Each in a folder of its own, of which `current.json` names one: who starts meanwhile has the old one or the new. */
function install(files, inputs) {
  const hash = createHash('sha256');
  for (const { name, text } of files) hash.update(`${name}\n${text}`);
  const folder = hash.digest('hex').slice(0, 16);
  if (!existsSync(join(home, folder))) {
    const made = join(home, `${folder}.${process.pid}`);
    mkdirSync(made, { recursive: true });
    writeFileSync(join(made, 'package.json'), '{ "type": "commonjs" }\n');
    for (const { name, text } of files) writeFileSync(join(made, name), text);
    try {
      renameSync(made, join(home, folder));
    } catch (error) {
      // Somebody else was as quick.
      rmSync(made, { recursive: true });
      if (!existsSync(join(home, folder))) throw error;
    }
  }
  const current = join(home, `current.json.${process.pid}`);
  writeFileSync(current, JSON.stringify({ folder, inputs }));
  renameSync(current, join(home, 'current.json'));
  for (const name of readdirSync(home)) {
    const path = join(home, name);
    if (!['current.json', folder].includes(name) && statSync(path).mtimeMs < Date.now() - KEPT_MS)
      rmSync(path, { recursive: true, force: true });
  }
}
