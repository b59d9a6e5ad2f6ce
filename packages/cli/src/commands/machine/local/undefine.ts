import type { Context } from '../../../context.ts';
import { type DriverOptions, withDriver } from './drivers.ts';

export async function run(
  context: Context,
  [id]: readonly [string],
  options: DriverOptions,
): Promise<undefined> {
  await withDriver(context, options, async (driver) => {
    // So that a wrong name is told.
    await driver.status(id);
    await driver.undefine(id);
  });
}
