import { randomUUID } from 'node:crypto';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { convert, fileSink, StoreError, storeError } from '@gantry/disk';
import type { HypervisorDriver } from '@gantry/machine';
import type { Context } from '../../../context.ts';
import { targetPath } from '../../../output/target-file.ts';
import { type DriverOptions, withDriver } from './drivers.ts';

interface CaptureOptions extends DriverOptions {
  readonly format: string;
  readonly reboot?: boolean;
  readonly grace: number;
}

/** Begins the ids of captures that a command has taken; the number of its process follows. */
const OWN = 'command-';

export async function run(
  context: Context,
  [id, folder]: readonly [string, string],
  { format, reboot = false, grace, ...options }: CaptureOptions,
): Promise<undefined> {
  const { signal, progress } = context;
  await mkdir(folder, { recursive: true }).catch((error) => {
    throw storeError(error, folder);
  });
  await requireNoDisks(folder);
  await withDriver(context, options, async (driver) => {
    await releaseLeft(driver, id);
    const request = {
      captureId: `${OWN}${process.pid}-${randomUUID()}`,
      reboot,
      graceMs: grace * 1000,
      signal,
    };
    const capture = await driver.capture(id, request);
    try {
      const files: string[] = [];
      for (const { index, disk } of capture.disks) {
        const file = join(folder, `disk${index}.${format}`);
        const sink = await fileSink(await targetPath(file, []));
        try {
          await convert(disk, sink, { format, signal });
        } finally {
          await sink.abort();
        }
        progress.note(`wrote ${file}`);
        files.push(file);
      }
      const { consistency, takenAtMs } = capture;
      await context.output.record({ id, consistency, takenAt: new Date(takenAtMs).toISOString(), files });
    } finally {
      await capture.release();
    }
  });
}

/** What would be replaced may be a disk of the very machine, to which its guest would write no more. */
async function requireNoDisks(folder: string): Promise<void> {
  const found = (await readdir(folder)).find((name) => /^disk\d+\./.test(name));
  if (found === undefined) return;
  throw new StoreError('STORE_EXISTS', `${join(folder, found)} exists already, and may be a disk in use`, {
    where: join(folder, found),
    hint: 'capture into a folder of its own',
  });
}

/** Lets go of what a command that was killed has left: nobody reads it, and it grows with what the guest writes. */
async function releaseLeft(driver: HypervisorDriver, id: string): Promise<void> {
  for (const captureId of await driver.captures(id)) {
    const [, pid] = /^command-(\d+)-/.exec(captureId) ?? [];
    if (pid !== undefined && !isAlive(Number(pid))) await driver.releaseCapture(id, captureId);
  }
}

function isAlive(pid: number): boolean {
  try {
    // Sends nothing.
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // That of another user is there, and may not be asked.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
