import type { Command } from 'commander';
import type { Context } from '../context.ts';
import type { ExitCode } from '../errors/codes.ts';
import { catchInterrupts } from '../interrupt.ts';
import { Output, type OutputFormat } from '../output/output.ts';
import { type ProgressMode, ProgressReporter } from '../progress/progress.ts';

interface GlobalOptions {
  readonly output: OutputFormat;
  readonly progress: ProgressMode;
  readonly profile?: string;
}

/** A verb: given its arguments in order and its options by name. Nothing returned is success. */
export type Verb<Args extends readonly unknown[], Options> = (
  context: Context,
  args: Args,
  options: Options,
) => Promise<ExitCode | undefined>;

/**
 * The action of a command whose verb is loaded when it is called. The grammar of the command and the types
 * of its verb stand side by side: commander promises what it declares.
 */
export function action<Args extends readonly unknown[], Options>(
  load: () => Promise<{ run: Verb<Args, Options> }>,
): (...received: unknown[]) => Promise<void> {
  return async (...received) => {
    const command = received.at(-1) as Command;
    const { output, progress, profile } = command.optsWithGlobals<GlobalOptions>();
    const interrupt = catchInterrupts();
    const reporter = new ProgressReporter(progress, process.stderr);
    const context: Context = {
      output: new Output(output, process.stdout),
      progress: reporter,
      signal: interrupt.signal,
      profile,
      environment: process.env,
    };
    try {
      const { run } = await load();
      const code = await run(context, command.processedArgs as unknown as Args, command.opts() as Options);
      if (code !== undefined) process.exitCode = code;
    } finally {
      reporter.end();
      interrupt.release();
    }
  };
}

/** Collects the values of a flag that may be given more than once. */
export function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}
