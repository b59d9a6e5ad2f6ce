import type { ByteSource, CheckFinding, CheckReport, Format, OpenOptions } from '@gantry/disk';
import type { Context } from '../../context.ts';
import { EXIT, type ExitCode } from '../../errors/codes.ts';
import { CommandError, usageError } from '../../errors/command-error.ts';
import { printable } from '../../output/printable.ts';
import { type ConsumerOption, checkForConsumer, consumerOf } from './consumer.ts';
import { ImageFiles, type ImageFilesOptions, isHttpAddress } from './image-files.ts';
import { type RepairOptions, repair } from './repair.ts';

interface CheckOptions extends ImageFilesOptions, ConsumerOption, RepairOptions {
  readonly from?: string;
}

export async function run(
  context: Context,
  [file]: readonly [string],
  options: CheckOptions,
): Promise<ExitCode> {
  const wishes = [options.for, options.repair, options.repairInPlace].filter((wish) => wish !== undefined);
  if (wishes.length > 1) {
    throw usageError('--for, --repair and --repair-in-place are for one call each', 'leave all but one away');
  }
  if (options.repairInPlace === true && isHttpAddress(file)) {
    throw usageError('--repair-in-place is for files', 'write a copy with --repair TARGET');
  }
  const consumer = consumerOf(options);
  const files = new ImageFiles(options, context.signal);
  try {
    return await files.examine(file, options.from, async (source, format, open) => {
      if (consumer !== undefined) return checkForConsumer(context, source, format, consumer, open);
      if (wishes.length > 0) return repair(context, files, { file, source, format, open }, options);
      return checkAlone(context, file, source, format, open);
    });
  } finally {
    await files.close();
  }
}

async function checkAlone(
  context: Context,
  file: string,
  source: ByteSource,
  format: Format,
  open: OpenOptions,
): Promise<ExitCode> {
  if (format.check === undefined) {
    throw new CommandError('IMAGE_UNSUPPORTED', `${format.title} has no structures to check`, {
      where: file,
      hint: 'if it is an image of another format, say which with --from FORMAT',
    });
  }
  const report = await format.check(source, open);
  const record = { file, ...report, findings: report.findings.map((finding) => ({ ...finding })) };
  await context.output.record(record, reportLines(report));
  return report.corruptionCount + report.leakCount > 0 ? EXIT.findings : EXIT.ok;
}

function reportLines(report: CheckReport): string[] {
  const { corruptionCount, leakCount, warningCount } = report;
  const lines = report.findings.map(findingText);
  const unlisted = corruptionCount + leakCount + warningCount - report.findings.length;
  if (unlisted > 0) lines.push(`and ${unlisted} more`);
  if (corruptionCount + leakCount + warningCount === 0) return [`${report.format}: no damage found`];
  lines.push(`${report.format}: ${corruptionCount} corrupt, ${leakCount} leaked, ${warningCount} warnings`);
  return lines;
}

function findingText({ severity, structure, offsetBytes, message }: CheckFinding): string {
  const place = offsetBytes === undefined ? structure : `${structure} at ${offsetBytes}`;
  return `${severity}: ${printable(place)}: ${printable(message)}`;
}
