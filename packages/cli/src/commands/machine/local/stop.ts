import type { Context } from '../../../context.ts';
import { type DriverOptions, withDriver } from './drivers.ts';

interface StopOptions extends DriverOptions {
  readonly grace: number;
}

export async function run(
  context: Context,
  [id]: readonly [string],
  options: StopOptions,
): Promise<undefined> {
  await withDriver(context, options, async (driver) => {
    const end = await driver.stop(id, { graceMs: options.grace * 1000, signal: context.signal });
    await context.output.record({ id, end });
  });
}
