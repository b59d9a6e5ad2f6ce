import type { Context } from '../../../context.ts';
import { type DriverOptions, withDriver } from './drivers.ts';

export async function run(context: Context, _: readonly [], options: DriverOptions): Promise<undefined> {
  await withDriver(context, options, async (driver) => {
    const machines = await Promise.all(
      (await driver.list()).map(async (id) => {
        const { state, reason = null } = await driver.status(id);
        return { id, state, reason };
      }),
    );
    await context.output.list(machines, [
      { title: 'ID', value: ({ id }) => id },
      { title: 'STATE', value: ({ state }) => state },
      { title: 'REASON', value: ({ reason }) => reason ?? '-' },
    ]);
  });
}
