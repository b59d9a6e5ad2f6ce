// Builds build/gantry_native.node with the machine's C compiler, unless it stands there for these very sources.
//
//   node build.mjs               says what is missing where it cannot, and exits with 0
//   node build.mjs --required    the same, and exits with 1
//
// Plain JavaScript, so that the Node of a distribution (20) runs it as well as the project's own.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const home = dirname(fileURLToPath(import.meta.url));
const sourceFolder = join(home, 'src');
const buildFolder = join(home, 'build');
const addon = join(buildFolder, 'gantry_native.node');
const stamp = join(buildFolder, 'built-from');
const compiler = process.env.CC || 'cc';

const flags = [
  ...[
    '-std=c11',
    '-O3',
    '-ffp-contract=off',
    '-Wall',
    '-Wextra',
    '-Wpedantic',
    '-D_FILE_OFFSET_BITS=64',
    '-DNAPI_VERSION=8',
  ],
  ...['-fPIC', '-shared', '-fvisibility=hidden', '-fstack-protector-strong'],
];
const linking = ['-Wl,--exclude-libs,ALL', '-Wl,-z,relro,-z,now', '-pthread', '-ldl'];
/** Static where the machine has it so: then the addon runs on machines without libdeflate, too. */
const libraries = ['-l:libdeflate.a', '-ldeflate'];

const problem = build();
if (problem !== undefined) {
  console.error(`@gantry/native is not built: ${problem}`);
  if (process.argv.includes('--required')) process.exit(1);
  console.error('The engine goes on without it: slower, and blind to the holes of sparse files.');
}

/** What keeps it from being built; undefined when it stands. */
function build() {
  if (process.platform !== 'linux') return `it is made for Linux, and this is ${process.platform}`;
  const headers = headerFolder();
  if (headers === undefined) return 'the npm package node-api-headers is missing: npm ci installs it';
  const wanted = fingerprint(headers);
  if (isBuiltFrom(wanted)) return undefined;
  const missing = missingPackages();
  if (missing.length > 0) return `Debian's packages are missing: apt-get install ${missing.join(' ')}`;
  mkdirSync(buildFolder, { recursive: true });
  // Compiled beside its place: a process that has the old one loaded keeps that.
  const made = `${addon}.${process.pid}`;
  const refusals = [];
  for (const library of libraries) {
    const run = compile([...flags, `-I${headers}`, ...sources('.c'), '-o', made, library, ...linking]);
    if (run.status === 0) {
      process.stderr.write(run.stderr);
      renameSync(made, addon);
      writeFileSync(stamp, `${wanted}\n${libraryMark()}`);
      console.error(`Built ${addon} with ${library}.`);
      return undefined;
    }
    refusals.push(run.stderr);
  }
  rmSync(made, { force: true });
  return `${compiler} refused it:\n${refusals.join('\n')}`;
}

function sources(...endings) {
  return readdirSync(sourceFolder)
    .filter((name) => endings.some((ending) => name.endsWith(ending)))
    .sort()
    .map((name) => join(sourceFolder, name));
}

function headerFolder() {
  try {
    const found = fileURLToPath(import.meta.resolve('node-api-headers/package.json'));
    return existsSync(found) ? join(dirname(found), 'include') : undefined;
  } catch {
    return undefined;
  }
}

/** A machine that has lost its compiler or library since keeps what it has. */
function isBuiltFrom(wanted) {
  if (!existsSync(addon) || !existsSync(stamp)) return false;
  const [from, library] = readFileSync(stamp, 'utf8').split('\n');
  const mark = libraryMark();
  return from === wanted && (mark === '' || mark === library);
}

/** Changes when libdeflate is updated; empty where there is no static one. */
function libraryMark() {
  const path = (compile(['-print-file-name=libdeflate.a']).stdout ?? '').trim();
  if (!isAbsolute(path) || !existsSync(path)) return '';
  const { size, mtimeMs } = statSync(path);
  return `${size} ${mtimeMs}`;
}

/** Changes with all of ours that the result depends on. */
function fingerprint(headers) {
  const hash = createHash('sha256').update(`${process.arch} ${compiler}`);
  for (const path of [fileURLToPath(import.meta.url), join(headers, 'node_api.h'), ...sources('.c', '.h')])
    hash.update(readFileSync(path));
  return hash.digest('hex');
}

function missingPackages() {
  if (compile(['--version']).status !== 0) return ['gcc', 'libc6-dev', 'libdeflate-dev'];
  const needs = { 'stdlib.h': 'libc6-dev', 'libdeflate.h': 'libdeflate-dev' };
  return Object.entries(needs)
    .filter(([header]) => compile(['-E', '-'], `#include <${header}>\n`).status !== 0)
    .map(([, name]) => name);
}

function compile(args, input = '') {
  return spawnSync(compiler, args, { input, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
}
