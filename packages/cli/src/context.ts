import type { Output } from './output/output.ts';
import type { ProgressReporter } from './progress/progress.ts';

/** What every verb is given beside its own arguments. */
export interface Context {
  readonly output: Output;
  readonly progress: ProgressReporter;
  /** Aborted when the user interrupts. */
  readonly signal: AbortSignal;
  /** `--profile`. */
  readonly profile: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
}
