import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { open, readFile, stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { StoreError } from '@gantry/disk';
import { readPart } from '../serial-log.ts';
import type { QemuCommand } from './command.ts';
import type { MachineFolder } from './machine-folder.ts';
import { codeOf, isAnswered } from './sockets.ts';

const { O_APPEND, O_CREAT, O_TRUNC, O_WRONLY } = constants;
/** What of QEMU's complaints is told. */
const COMPLAINT_BYTES_MAX = 4096;
const POLL_MS = 20;
/** How long QEMU takes to open what it needs: exports may be away for a while. */
const LISTEN_MS = 120_000;

/**
 * Starts QEMU apart from this process, and waits until it listens or has ended. Throws STORE_NOT_FOUND when the program
 * is not there, STORE_IO with QEMU's own words.
 */
export async function spawnDetached(command: QemuCommand, folder: MachineFolder): Promise<void> {
  const log = await open(folder.log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0o600);
  try {
    const child = spawn(command.program, command.args, {
      detached: true,
      cwd: folder.path,
      stdio: ['ignore', log.fd, log.fd],
    });
    const failed = Promise.withResolvers<never>();
    failed.promise.catch(() => {});
    child.once('error', (error) => failed.reject(notStarted(command.program, error)));
    child.once('exit', (status, signalName) => {
      complaint(folder).then((words) => {
        // Another one was started just now, by a process that is gone, and will listen in a moment.
        if (/Cannot lock pid file/.test(words)) return;
        failed.reject(qemuFailed(command.program, words || `it ended with ${signalName ?? status}`));
      }, failed.reject);
    });
    child.unref();
    const endMs = Date.now() + LISTEN_MS;
    while (!(await isAnswered(folder.qmp))) {
      if (Date.now() >= endMs) throw qemuFailed(command.program, 'it does not listen');
      await Promise.race([failed.promise, delay(POLL_MS)]);
    }
  } finally {
    await log.close();
  }
}

function notStarted(program: string, cause: Error): StoreError {
  const isMissing = codeOf(cause) === 'ENOENT';
  return new StoreError(isMissing ? 'STORE_NOT_FOUND' : 'STORE_IO', `${program} cannot be started`, {
    where: program,
    hint: isMissing ? 'install QEMU: apt-get install qemu-system-x86' : undefined,
    cause,
  });
}

export function qemuFailed(where: string, words: string): StoreError {
  return new StoreError('STORE_IO', `QEMU failed: ${words}`, { where });
}

/** The end of what QEMU wrote to its standard error. */
export async function complaint(folder: MachineFolder): Promise<string> {
  try {
    const { size } = await stat(folder.log);
    const bytes = await readPart(folder.log, Math.max(0, size - COMPLAINT_BYTES_MAX), COMPLAINT_BYTES_MAX);
    return Buffer.from(bytes).toString().trim();
  } catch {
    return '';
  }
}

/** Resolves to false when the process of the machine is still there after the time. */
export async function isGoneWithin(folder: MachineFolder, waitMs: number): Promise<boolean> {
  const endMs = Date.now() + waitMs;
  while ((await processOf(folder)) !== undefined || (await isAnswered(folder.qmp))) {
    if (Date.now() >= endMs) return false;
    await delay(POLL_MS);
  }
  return true;
}

/** Ends the process that runs the machine at once, when there is one. */
export async function killProcess(folder: MachineFolder): Promise<void> {
  const pid = await processOf(folder);
  if (pid === undefined) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error;
  }
}

/**
 * The process that wrote the file of its number, if it is that one still: numbers are used again, but the path of the
 * file stands in the command of no other process.
 */
async function processOf({ pid: path }: MachineFolder): Promise<number | undefined> {
  const pid = Number((await readFile(path, 'utf8').catch(() => '')).trim());
  if (!Number.isSafeInteger(pid) || pid < 2) return undefined;
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return command.split('\0').includes(path) ? pid : undefined;
}
