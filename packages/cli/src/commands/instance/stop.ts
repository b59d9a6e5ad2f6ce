import type { Context } from '../../context.ts';
import { act, type PowerOptions } from './power.ts';

export function run(
  context: Context,
  [idOrName]: readonly [string],
  options: PowerOptions,
): Promise<undefined> {
  return act(context, idOrName, options.force === true ? 'stop' : 'softstop', options);
}
