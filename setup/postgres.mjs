// A PostgreSQL of the tests' own: a temporary cluster from Debian's packages, gone when its maker is gone.
//
//   node setup/postgres.mjs -- CMD…    runs CMD with GANTRY_TEST_POSTGRES set to the cluster's address
//
// Plain JavaScript, so that the Node of a distribution (20) runs it as well as the project's own.

import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chown, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const PACKAGES = '/usr/lib/postgresql';
const OLDEST_MAJOR = 15;
const PORT_ATTEMPTS = 5;

/**
 * Starts a cluster that listens on a free loopback port, in a fresh folder of its own. Its collation is that
 * of a language, so that a test sees where an order by bytes was forgotten; it does not survive a power cut.
 * @returns {Promise<{ address: string, stop(): Promise<void> }>}
 */
export async function startPostgres() {
  const programs = await findPrograms();
  const owner = await findOwner();
  const folder = await mkdtemp(join(tmpdir(), 'gantry-postgres-'));
  if (owner !== undefined) await chown(folder, owner.uid, owner.gid);
  const stop = removeWhenStopped(owner, programs, folder);
  try {
    const password = randomBytes(18).toString('base64url');
    await createCluster(owner, programs, folder, password);
    const port = await startServer(owner, programs, folder);
    return { address: `postgres://gantry:${password}@127.0.0.1:${port}/postgres`, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The folder of the newest installed server's programs. */
async function findPrograms() {
  const majors = (await readdir(PACKAGES).catch(() => []))
    .map(Number)
    .filter((major) => major >= OLDEST_MAJOR);
  if (majors.length === 0) {
    throw new Error(`no PostgreSQL ${OLDEST_MAJOR} or later under ${PACKAGES}: apt-get install postgresql`);
  }
  return join(PACKAGES, String(Math.max(...majors)), 'bin');
}

/** PostgreSQL refuses to run as root: then the package's own user runs it. */
async function findOwner() {
  if (process.getuid?.() !== 0) return undefined;
  const line = (await readFile('/etc/passwd', 'utf8'))
    .split('\n')
    .find((text) => text.startsWith('postgres:'));
  if (line === undefined)
    throw new Error('there is no user postgres to run PostgreSQL as: apt-get install postgresql');
  const [, , uid, gid] = line.split(':');
  return { uid: Number(uid), gid: Number(gid) };
}

/** The command line that runs `command` as the cluster's owner. */
function asOwner(owner, command) {
  return owner === undefined ? command : ['runuser', '-u', 'postgres', '--', ...command];
}

async function runAsOwner(owner, folder, command) {
  const [file, ...args] = asOwner(owner, command);
  await run(file, args, { cwd: folder });
}

async function createCluster(owner, programs, folder, password) {
  const passwordFile = join(folder, 'password');
  await writeFile(passwordFile, password, { mode: 0o600 });
  if (owner !== undefined) await chown(passwordFile, owner.uid, owner.gid);
  await runAsOwner(owner, folder, [
    join(programs, 'initdb'),
    ...['--pgdata', join(folder, 'data'), '--username', 'gantry', '--pwfile', passwordFile],
    ...['--auth', 'scram-sha-256', '--encoding', 'UTF8', '--locale', 'C.UTF-8'],
    ...['--locale-provider', 'icu', '--icu-locale', 'en-US', '--no-sync', '--no-instructions'],
  ]);
}

/** Starts the server and waits until it answers. Another process may take a free port first: then again. */
async function startServer(owner, programs, folder) {
  const log = join(folder, 'log');
  for (let attempt = 1; ; attempt += 1) {
    const port = await findFreePort();
    const settings = [
      `-c listen_addresses=127.0.0.1 -c port=${port} -c unix_socket_directories=${folder}`,
      '-c max_connections=200 -c shared_buffers=32MB',
      '-c fsync=off -c full_page_writes=off -c synchronous_commit=off',
    ].join(' ');
    try {
      await runAsOwner(owner, folder, [
        join(programs, 'pg_ctl'),
        ...['start', '-w', '-s', '-D', join(folder, 'data'), '-l', log, '-o', settings],
      ]);
      return port;
    } catch (error) {
      if (attempt < PORT_ATTEMPTS) continue;
      const lines = await readFile(log, 'utf8').catch(() => '');
      throw new Error(`PostgreSQL did not start:\n${lines}`, { cause: error });
    }
  }
}

function findFreePort() {
  return new Promise((resolvePort, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolvePort(port));
    });
  });
}

/**
 * A shell that waits for the end of its input, then stops the server and removes the folder. The input ends
 * when we say so, and also when this process dies in whatever way: no cluster is ever left behind.
 */
function removeWhenStopped(owner, programs, folder) {
  const script =
    'cat >/dev/null; [ ! -e "$2/data/postmaster.pid" ] || "$1/pg_ctl" stop -w -s -m immediate -D "$2/data"; rm -rf "$2"';
  const [file, ...args] = asOwner(owner, ['sh', '-c', script, 'sh', programs, folder]);
  // A session of its own: an interrupt typed at the terminal is not for it.
  const keeper = spawn(file, args, { cwd: '/', detached: true, stdio: ['pipe', 'ignore', 'inherit'] });
  keeper.unref();
  keeper.stdin.unref();
  const ended = new Promise((resolveEnd, reject) => {
    keeper.once('error', reject);
    keeper.once('exit', (code) => {
      if (code === 0) resolveEnd(undefined);
      else reject(new Error(`the PostgreSQL in ${folder} was not stopped and removed`));
    });
  });
  ended.catch(() => {});
  return () => {
    keeper.ref();
    keeper.stdin.end();
    return ended;
  };
}

/** Runs the command with the cluster's address in its environment; the exit code to pass on. */
async function runWithPostgres([file, ...args]) {
  let child;
  let signalName;
  const forward = (name) => {
    signalName = name;
    child?.kill(name);
  };
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, forward);

  const postgres = await startPostgres();
  try {
    if (signalName !== undefined) return 128 + constants.signals[signalName];
    child = spawn(file, args, {
      stdio: 'inherit',
      env: { ...process.env, GANTRY_TEST_POSTGRES: postgres.address },
    });
    return await new Promise((resolveCode, reject) => {
      child.once('error', reject);
      child.once('exit', (code, name) => resolveCode(code ?? 128 + constants.signals[name]));
    });
  } finally {
    await postgres.stop();
  }
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [separator, ...command] = process.argv.slice(2);
  if (separator !== '--' || command.length === 0) {
    console.error('usage: node setup/postgres.mjs -- CMD…');
    process.exit(2);
  }
  process.exit(await runWithPostgres(command));
}
