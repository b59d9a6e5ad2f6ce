import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { type HypervisorDriver, LibvirtDriver, QemuDriver, VirtualBoxDriver } from '@gantry/machine';
import type { Context } from '../../../context.ts';
import { usageError } from '../../../errors/command-error.ts';

/** What the verbs of machines that stay have in common. */
export interface DriverOptions {
  readonly connect?: string;
  readonly folder?: string;
}

/** Runs a task with the hypervisor that is meant. Throws USAGE for a word that names none. */
export async function withDriver<Result>(
  { environment }: Context,
  { connect = 'qemu', folder }: DriverOptions,
  task: (driver: HypervisorDriver) => Promise<Result>,
): Promise<Result> {
  const data = environment.XDG_DATA_HOME ?? join(homedir(), '.local/share');
  const place = folder === undefined ? join(data, 'gantry/machines') : resolve(folder);
  const driver = driverFor(connect, place, environment.PATH, folder !== undefined);
  try {
    return await task(driver);
  } finally {
    await driver.close();
  }
}

function driverFor(
  connect: string,
  folder: string,
  path: string | undefined,
  isChosen: boolean,
): HypervisorDriver {
  if (connect === 'qemu') return new QemuDriver({ folder, path });
  if (connect === 'virtualbox') return new VirtualBoxDriver({ folder });
  const uri = connect === 'libvirt' ? undefined : connect;
  if (uri === undefined || /^[a-z]+(?:\+[a-z0-9]+)?:\/\//.test(uri)) {
    // Its QEMU is of another user as a rule, who has no way into this one's folders.
    return new LibvirtDriver({ uri, folder: isChosen ? folder : undefined });
  }
  throw usageError(
    `--connect: ${JSON.stringify(connect)} is no hypervisor`,
    'write qemu, libvirt, virtualbox or an address such as qemu:///system',
  );
}
