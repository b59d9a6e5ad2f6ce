import { EXIT } from './errors/codes.ts';
import { CommandError } from './errors/command-error.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Two signals closer together are one: a terminal interrupts the launcher and the command at once, and the
 * launcher passes on what it gets.
 */
const SAME_PRESS_MS = 300;

export interface Interrupt {
  /** Aborted with an INTERRUPTED error by the first signal. The second one ends the process at once. */
  readonly signal: AbortSignal;
  /** Gives the signals back. */
  release(): void;
}

export function catchInterrupts(): Interrupt {
  const controller = new AbortController();
  let firstMs: number | undefined;
  const onSignal = (name: string) => {
    const nowMs = performance.now();
    if (firstMs === undefined) {
      firstMs = nowMs;
      const hint = 'run the same command again';
      controller.abort(new CommandError('INTERRUPTED', `interrupted by ${name}`, { hint }));
    } else if (nowMs - firstMs > SAME_PRESS_MS) process.exit(EXIT.interrupted);
  };
  for (const name of SIGNALS) process.on(name, onSignal);
  return {
    signal: controller.signal,
    release() {
      for (const name of SIGNALS) process.off(name, onSignal);
    },
  };
}
