import { setTimeout as delay } from 'node:timers/promises';
import type { MachineFolder } from './machine-folder.ts';
import { converse } from './monitor.ts';
import { type QemuState, stateBy } from './run-state.ts';

/** An operating system that starts just then misses the button. */
const PRESS_AGAIN_MS = 10_000;
const POLL_MS = 25;

/**
 * Presses the power button until the guest has ended, or the time is over. Gives the last state: `shutdown`, or
 * undefined when QEMU is gone.
 */
export async function askToEnd(
  folder: MachineFolder,
  graceMs: number,
  signal: AbortSignal | undefined,
): Promise<QemuState | undefined> {
  const endMs = Date.now() + graceMs;
  for (let pressAgainMs = 0; ; ) {
    signal?.throwIfAborted();
    const isDue = Date.now() >= pressAgainMs;
    const state = await converse(folder.qmp, async (qmp) => {
      const found = await stateBy(qmp);
      if (found === 'shutdown' || !isDue) return found;
      // A guest that stands still hears nothing.
      if (found !== 'running') await qmp.execute('cont');
      await qmp.execute('system_powerdown');
      return found;
    });
    if (state === undefined || state === 'shutdown' || Date.now() >= endMs) return state;
    if (isDue) pressAgainMs = Date.now() + PRESS_AGAIN_MS;
    await delay(POLL_MS, undefined, { signal });
  }
}
