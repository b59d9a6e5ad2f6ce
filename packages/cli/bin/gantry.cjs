#!/usr/bin/env -S node --conditions=source --max-semi-space-size=1
// Starts the command. Plain JavaScript that the Node of a distribution (20) runs too: when the running Node
// is too old, or was started without the condition that makes packages resolve to their sources, the command
// is started again the right way. Signals and the exit code pass through.
'use strict';
const { existsSync, realpathSync } = require('node:fs');
const { dirname, join } = require('node:path');
const { currentBundle, loadBundle } = require('./current-bundle.cjs');

const OLDEST_MAJOR = 26;
// The service passes bytes on: with a smaller nursery the memory of those that are sent is free again sooner.
// Measured for uploads: 150 MiB and 340 MB/s with 1, 200 MiB and 500 MB/s with 6, 212 MiB and 580 MB/s without.
// A command makes little garbage: with the smallest nursery it stays 5 MiB smaller, and no slower.
const FLAGS = ['--conditions=source', `--max-semi-space-size=${process.argv[2] === 'serve' ? 6 : 1}`];
const script = realpathSync(__filename);
const root = join(dirname(script), '..', '..', '..');
const modules = join(root, 'node_modules');

const isNewEnough = Number(process.versions.node.split('.')[0]) >= OLDEST_MAJOR;
if (isNewEnough && FLAGS.every((flag) => process.execArgv.includes(flag))) {
  // Threads look there for what is compiled: without, each would load a compiler of its own.
  if (existsSync(modules)) process.env.NODE_COMPILE_CACHE ??= join(modules, '.cache', 'gantry', 'compiled');
  const bundle = bundledCommand();
  if (bundle === undefined) runSources();
  else runBundle(bundle);
} else {
  startAgain(isNewEnough ? process.execPath : ownNode());
}

/** The folder of the bundle, for the verbs that are in it. */
function bundledCommand() {
  // The lines of a stack are to be those of the sources.
  return process.argv[2] === 'disk' && process.env.GANTRY_DEBUG !== '1' ? currentBundle(root) : undefined;
}

async function runBundle(folder) {
  const { main, keepCompiled } = loadBundle(folder);
  const code = await main(process.argv.slice(2));
  keepCompiled();
  const isAllWritten = process.stdout.writableLength + process.stderr.writableLength === 0;
  // At once: idle threads take 10 ms to end by themselves.
  if (isAllWritten) process.exit(code);
  process.exitCode = code;
}

async function runSources() {
  const compiled = process.env.NODE_COMPILE_CACHE;
  if (compiled !== undefined) require('node:module').enableCompileCache(compiled);
  const { main } = await import('../src/main.ts');
  process.exitCode = await main(process.argv.slice(2));
}

/** The Node that `npm ci` installs with the project. */
function ownNode() {
  const node = join(modules, '.bin', 'node');
  if (existsSync(node) && realpathSync(node) !== realpathSync(process.execPath)) return node;
  console.error(
    `error[USAGE]: gantry needs Node ${OLDEST_MAJOR} or later and was started by ${process.version}\n` +
      `  do: run "npm ci" in ${dirname(modules)}, which installs it, or put a newer node first in PATH`,
  );
  process.exit(2);
}

function startAgain(node) {
  const args = [...new Set([...process.execArgv, ...FLAGS]), script, ...process.argv.slice(2)];
  // Replacing this process leaves nobody in between. Not on Windows, and only a trial before Node 26.
  if (isNewEnough && process.platform !== 'win32') process.execve(node, [node, ...args], process.env);
  const { spawn } = require('node:child_process');
  const { constants } = require('node:os');
  const child = spawn(node, args, { stdio: 'inherit' });
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => child.kill(name));
  child.on('error', (error) => {
    console.error(`error[INTERNAL]: ${node} cannot be started: ${error.message}`);
    process.exitCode = 1;
  });
  child.on('exit', (code, signalName) => {
    process.exitCode = code ?? 128 + constants.signals[signalName];
  });
}
