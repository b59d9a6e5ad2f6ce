import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { StoreError } from '@gantry/disk';
import type { Machine } from '../../model.ts';
import { type QemuCommand, type QemuCommandOptions, qemuCommand } from './command.ts';
import { QmpClient } from './qmp.ts';

/** What of QEMU's complaints is kept for messages. */
const STDERR_LENGTH_MAX = 16 * 1024;

export interface GuestEnd {
  /** `guest-shutdown`, `host-qmp-quit`, …: why QEMU says it ended; undefined when it did not say. */
  readonly reason: string | undefined;
}

/** A machine that runs. */
export interface RunningMachine {
  readonly command: QemuCommand;
  readonly qmp: QmpClient;
  /** What the guest writes to its first serial port, when that was asked for; it has to be read. */
  readonly serial: Readable | undefined;
  /** Settles when QEMU has ended; rejected with STORE_IO when it failed. */
  readonly ended: Promise<GuestEnd>;
  /** Presses the power button, waits as long as is said for the guest to end, and then ends QEMU. */
  stop(graceMs: number): Promise<GuestEnd>;
}

/**
 * Starts a machine with QEMU and gives it when QMP answers: QEMU has opened every file then. It runs apart from the
 * terminal, so that Ctrl-C does not end it, and it ends when this process exits; one that is killed leaves it. Throws
 * STORE_IO with QEMU's own words, STORE_NOT_FOUND when the program is not there, and what `qemuCommand` throws.
 */
export async function startMachine(
  machine: Machine,
  options: Omit<QemuCommandOptions, 'qmpSocketPath'> & { readonly signal?: AbortSignal | undefined } = {},
): Promise<RunningMachine> {
  // Short: the path of a socket has some hundred bytes at most. Nobody else may enter the folder.
  const folder = await mkdtemp(join(tmpdir(), 'gantry-qemu-'));
  try {
    const qmpSocketPath = join(folder, 'qmp');
    const command = qemuCommand(machine, { ...options, qmpSocketPath });
    const server = createServer();
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(qmpSocketPath, resolve));
    try {
      options.signal?.throwIfAborted();
      return await startedProcess(command, server, options.serial === 'stdout');
    } finally {
      server.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function startedProcess(
  command: QemuCommand,
  server: Server,
  hasSerial: boolean,
): Promise<RunningMachine> {
  const connected = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const child = spawn(command.program, command.args, {
    detached: true,
    stdio: ['ignore', hasSerial ? 'pipe' : 'ignore', 'pipe'],
  });
  const kill = () => child.kill('SIGKILL');
  process.on('exit', kill);
  let reason: string | undefined;
  const ended = endOf(child, command.program, () => reason).finally(() => process.off('exit', kill));
  // Whoever waits for the machine hears of it below or later.
  ended.catch(() => {});
  try {
    const socket = await Promise.race([connected, ended.then(endedEarly)]);
    const qmp = await Promise.race([
      QmpClient.start(socket, ({ name, data }) => {
        if (name === 'SHUTDOWN' && typeof data.reason === 'string') reason = data.reason;
      }),
      ended.then(endedEarly),
    ]);
    return {
      command,
      qmp,
      serial: child.stdout ?? undefined,
      ended,
      stop: (graceMs) => stop(qmp, child, ended, graceMs),
    };
  } catch (error) {
    kill();
    child.stdout?.resume();
    // QEMU's own complaint says more than that its socket closed.
    await ended;
    throw error;
  }
}

function endedEarly(): never {
  throw new StoreError('STORE_IO', 'QEMU ended before it said that it runs', { where: 'QEMU' });
}

function endOf(child: ChildProcess, program: string, reasonOf: () => string | undefined): Promise<GuestEnd> {
  return new Promise((resolve, reject) => {
    let complaint = '';
    child.stderr?.setEncoding('utf8');
    child.stderr?.on('data', (text: string) => {
      complaint = (complaint + text).slice(-STDERR_LENGTH_MAX);
    });
    child.on('error', (error) => {
      const isMissing = 'code' in error && error.code === 'ENOENT';
      const code = isMissing ? 'STORE_NOT_FOUND' : 'STORE_IO';
      const hint = isMissing ? 'install QEMU: apt-get install qemu-system-x86' : undefined;
      reject(new StoreError(code, `${program} cannot be started`, { where: program, hint, cause: error }));
    });
    child.on('close', (status, signalName) => {
      const reason = reasonOf();
      if (status === 0 || reason !== undefined) resolve({ reason });
      else {
        const words = complaint.trim() || `it ended with ${signalName ?? status}`;
        reject(new StoreError('STORE_IO', `QEMU failed: ${words}`, { where: program }));
      }
    });
  });
}

async function stop(
  qmp: QmpClient,
  child: ChildProcess,
  ended: Promise<GuestEnd>,
  graceMs: number,
): Promise<GuestEnd> {
  const grace = Promise.withResolvers<'late'>();
  const timer = setTimeout(() => grace.resolve('late'), graceMs);
  try {
    await qmp.execute('system_powerdown').catch(() => {});
    const first = await Promise.race([ended, grace.promise]);
    if (first !== 'late') return first;
    // Unlike a kill, this lets QEMU write what its caches hold.
    await Promise.race([qmp.execute('quit').catch(() => child.kill('SIGTERM')), ended]);
    return await ended;
  } finally {
    clearTimeout(timer);
  }
}
