'use strict';
const {
  accessSync,
  constants: access,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} = require('node:fs');
const { createRequire } = require('node:module');
const { dirname, join } = require('node:path');
const { constants, Script } = require('node:vm');

/**
 * The folder of the bundle of `gantry disk` that bundle.mjs made, when every file that it was made from still is
 * as it was then: who edits a source never runs what was made of the one before. `root` is the project's folder.
 */
function currentBundle(root) {
  try {
    const home = bundleHome(root);
    const { folder, inputs } = JSON.parse(readFileSync(join(home, 'current.json'), 'utf8'));
    // Joined by hand: there are hundreds.
    for (const [path, lengthBytes, modifiedMs] of inputs) {
      const { size, mtimeMs } = statSync(`${root}/${path}`);
      if (size !== lengthBytes || mtimeMs !== modifiedMs) return undefined;
    }
    // The folder may have gone without the record of it.
    statSync(join(home, folder, 'main.js'));
    return join(home, folder);
  } catch {
    // Never made, or one of its sources is no more.
    return undefined;
  }
}

/** Where bundles are kept. */
function bundleHome(root) {
  return join(root, 'node_modules', '.cache', 'gantry', 'bundle');
}

/**
 * What the bundle in this folder exports, and `keepCompiled`, to be called when the command has run: the first to
 * do so keeps all that was compiled by then, which Node's own cache does not, and the next start is faster by it.
 */
function loadBundle(folder) {
  const path = join(folder, 'main.js');
  const compiledPath = compiledOf(folder);
  const cachedData = readIfThere(compiledPath);
  // What bundle.mjs writes is ASCII, which needs no decoding.
  const text = `(function (exports, require, module, __filename, __dirname) {${readFileSync(path, 'latin1')}\n})`;
  const importModuleDynamically = constants.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  const script = new Script(text, { filename: path, cachedData, importModuleDynamically });
  const loaded = { exports: {} };
  script.runInThisContext()(loaded.exports, createRequire(path), loaded, path, dirname(path));
  const keepCompiled = () => {
    // Rejected is what another V8 or other flags made, and what is damaged in a way that V8 sees.
    if (cachedData !== undefined && !script.cachedDataRejected) return;
    const made = `${compiledPath}.${process.pid}`;
    try {
      accessSync(folder, access.W_OK);
      // Durable before it has its name: V8 does not see all that a power failure leaves.
      writeFileSync(made, script.createCachedData(), { flush: true });
      renameSync(made, compiledPath);
    } catch {
      // Of somebody else's project, say: every start compiles then.
      rmSync(made, { force: true });
    }
  };
  return { ...loaded.exports, keepCompiled };
}

/** What this Node compiled of the bundle in this folder. */
function compiledOf(folder) {
  return join(folder, `main.${process.version}-${process.arch}.compiled`);
}

function readIfThere(path) {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

module.exports = { bundleHome, compiledOf, currentBundle, loadBundle };
