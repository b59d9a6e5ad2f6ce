import {
  createDiskFiles,
  type HypervisorDriver,
  type Machine,
  planDiskFiles,
  verifyChecksums,
} from '@gantry/machine';
import type { Context } from '../../../context.ts';
import { installedQemu, loadMachine, type MachineOptions } from '../load.ts';
import { noteLosses } from '../losses.ts';
import { type DriverOptions, withDriver } from './drivers.ts';

export interface DefineOptions extends MachineOptions, DriverOptions {
  readonly skipChecksum?: boolean;
}

export async function run(
  context: Context,
  [file]: readonly [string],
  options: DefineOptions,
): Promise<undefined> {
  await withDriver(context, options, async (driver) => {
    const { name } = await defineFrom(context, driver, file, options);
    await context.output.record({ id: name, hypervisor: driver.kind, ...(await driver.status(name)) });
  });
}

/** Makes the machine of a descriptor known, by its name, after its disks were looked at and those that are missing made. */
export async function defineFrom(
  context: Context,
  driver: HypervisorDriver,
  file: string,
  options: DefineOptions,
): Promise<Machine> {
  const { progress, signal } = context;
  const { machine: described, folder } = await loadMachine(context, file, options, () =>
    installedQemu(context),
  );
  const plan = await planDiskFiles(described, { folder, anyPath: options.anyPath, signal });
  const { machine } = plan;
  const losses = await driver.check(machine);
  noteLosses(
    context,
    losses.filter(({ field }) => !/\.(?:role|virtualSizeBytes|checksums)$/.test(field)),
    driver.kind,
  );
  for (const warning of plan.warnings) progress.note(`warning: ${warning}`);
  if (options.skipChecksum !== true) await verifyChecksums(plan, signal);
  for (const path of await createDiskFiles(plan, signal)) progress.note(`made ${path}`);
  await driver.define(machine.name, machine);
  return machine;
}
