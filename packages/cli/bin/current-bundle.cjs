'use strict';
const { readFileSync, renameSync, statSync, writeFileSync } = require('node:fs');
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
  const compiledPath = join(folder, `main.${process.version}.compiled`);
  const cachedData = readIfThere(compiledPath);
  // What bundle.mjs writes is ASCII, which needs no decoding.
  const text = `(function (exports, require, module, __filename, __dirname) {${readFileSync(path, 'latin1')}\n})`;
  const importModuleDynamically = constants.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  const script = new Script(text, { filename: path, cachedData, importModuleDynamically });
  const loaded = { exports: {} };
  script.runInThisContext()(loaded.exports, createRequire(path), loaded, path, dirname(path));
  const keepCompiled = () => {
    if (cachedData !== undefined) return;
    try {
      writeFileSync(`${compiledPath}.${process.pid}`, script.createCachedData());
      renameSync(`${compiledPath}.${process.pid}`, compiledPath);
    } catch {
      // Of somebody else's project, say: every start compiles then.
    }
  };
  return { ...loaded.exports, keepCompiled };
}

function readIfThere(path) {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

module.exports = { bundleHome, currentBundle, loadBundle };
