import { execFile } from 'node:child_process';
import { stat, truncate } from 'node:fs/promises';
import { promisify } from 'node:util';
import { keptFrom } from '../serial-log.ts';
import type { MachineFolder } from './machine-folder.ts';

/** A log of a system's start has some 100 KiB. A guest says up to some 100 KiB a second. */
export const SERIAL_LOG_KEPT_BYTES: number = 16 * 2 ** 20;
/** Of QEMU's complaints. A guest that misuses its devices is one at each of its resets. */
const COMPLAINTS_KEPT_BYTES: number = 2 ** 20;

const run = promisify(execFile);

/**
 * Gives the space back of what a guest has written beyond what is kept: QEMU has no limit for its logs. A hole is
 * punched into the file, so that no byte changes its place and none is lost that QEMU writes meanwhile.
 */
export async function trimLogs(folder: MachineFolder): Promise<void> {
  await trim(folder.serialLog, SERIAL_LOG_KEPT_BYTES);
  await trim(folder.log, COMPLAINTS_KEPT_BYTES);
}

async function trim(path: string, keptBytes: number): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return;
  const endBytes = keptFrom(found.size, keptBytes);
  // The unit of `blocks` is 512 bytes everywhere (POSIX names none; Linux, stat(2)).
  if (endBytes === 0 || found.blocks * 512 <= 2 * keptBytes) return;
  try {
    await run('fallocate', ['--punch-hole', '--offset', '0', '--length', String(endBytes), path]);
  } catch {
    // No such program, or a file system without holes: better nothing is kept than that the disk is full. QEMU appends.
    await truncate(path, 0).catch(() => {});
  }
}
