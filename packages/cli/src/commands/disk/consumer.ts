import { extname } from 'node:path';
import {
  type ByteSource,
  type Consumer,
  type ConsumerFinding,
  checkFor,
  consumerNamed,
  denyReferences,
  type Format,
  fileSource,
  formatNamed,
  formats,
  formFor,
  type OpenOptions,
  type ReferenceGate,
} from '@gantry/disk';
import type { Context } from '../../context.ts';
import { EXIT, type ExitCode } from '../../errors/codes.ts';
import { CommandError, usageError } from '../../errors/command-error.ts';
import { isImageError } from '../../errors/describe.ts';
import { printable } from '../../output/printable.ts';
import { requireFormatName } from './image-files.ts';
import type { TargetOptions } from './plan.ts';

export interface ConsumerOption {
  /** Name of the consumer that an image is for. */
  readonly for?: string;
}

/** The consumer that `--for` names. Throws USAGE for a name that is nobody's. */
export function consumerOf(options: ConsumerOption): Consumer | undefined {
  const name = options.for;
  return name === undefined ? undefined : asUsage(() => consumerNamed(name));
}

/**
 * What to write: the format that was asked for by `--to` or by the target's name, with the options as given; for a
 * consumer its own choice, which these may refine. Throws USAGE where they contradict what the consumer takes.
 */
export function chosenTarget<Options extends TargetOptions & { readonly to?: string }>(
  consumer: Consumer | undefined,
  asked: Options,
  namedFormat: string | undefined,
): { readonly format: string; readonly options: Options } {
  if (asked.to !== undefined) requireFormatName(asked.to, '--to');
  const wished = asked.to ?? namedFormat;
  if (consumer === undefined) {
    if (wished !== undefined) return { format: wished, options: asked };
    throw usageError('nothing says which format to write', 'say it with --to FORMAT, or whom it is --for');
  }
  const { format, options, compression } = asUsage(() =>
    formFor(consumer, { format: wished, options: asked.option, compression: asked.compress }),
  );
  const chosen = { ...asked, option: options };
  return { format, options: compression === undefined ? chosen : { ...chosen, compress: compression } };
}

function asUsage<Result>(choose: () => Result): Result {
  try {
    return choose();
  } catch (error) {
    if (!isImageError(error) || error.code !== 'IMAGE_OPTION') throw error;
    throw usageError(`--for: ${error.message}`, error.hint);
  }
}

/** The format whose file names end like this one. */
export function formatOfEnding(target: string): string | undefined {
  const extension = extname(target).slice(1).toLowerCase();
  return formats.find(({ extensions }) => extensions.includes(extension))?.name;
}

/** Prints what is wrong with a file for a consumer. */
export async function checkForConsumer(
  context: Context,
  source: ByteSource,
  format: Format,
  consumer: Consumer,
  open: OpenOptions,
): Promise<ExitCode> {
  const report = await checkFor(source, consumer, { ...open, format: format.name });
  const lines = report.findings.map(findingText);
  const isTaken = report.findings.length === 0;
  const record = {
    file: source.name,
    ...report,
    findings: report.findings.map((finding) => ({ ...finding })),
  };
  await context.output.record(record, [
    ...lines,
    isTaken
      ? `${report.format}: all that ${consumer.title} is known to demand`
      : `${report.format}: not for ${consumer.title}: ${lines.length} of its rules are broken`,
  ]);
  return isTaken ? EXIT.ok : EXIT.findings;
}

function findingText({ rule, structure, offsetBytes, message, origin }: ConsumerFinding): string {
  const place = offsetBytes === undefined ? structure : `${structure} at ${offsetBytes}`;
  return `${rule}: ${printable(place)}: ${printable(message)} (${origin})`;
}

/** Throws VERIFY_FAILED unless the file that was written is what the consumer demands. */
export async function requireWrittenFor(
  consumer: Consumer,
  format: string,
  path: string,
  signal: AbortSignal,
  references: ReferenceGate = denyReferences,
): Promise<void> {
  const source = await fileSource(path);
  try {
    const options = { format: formatNamed(format).name, references, signal };
    const { findings } = await checkFor(source, consumer, options);
    const [first] = findings;
    if (first === undefined) return;
    throw new CommandError(
      'VERIFY_FAILED',
      `what was written is not for ${consumer.title}: ${first.rule}: ${first.message}`,
      { hint: `this comes from ${first.origin}` },
    );
  } finally {
    await source.close();
  }
}
