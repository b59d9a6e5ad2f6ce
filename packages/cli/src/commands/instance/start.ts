import type { Context } from '../../context.ts';
import { act } from './power.ts';
import type { WaitFlags } from './started.ts';

export function run(context: Context, [idOrName]: readonly [string], flags: WaitFlags): Promise<undefined> {
  return act(context, idOrName, 'start', flags);
}
