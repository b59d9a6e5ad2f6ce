import type { CheckFinding, CheckReport } from '@gantry/disk';
import type { Context } from '../../context.ts';
import { EXIT, type ExitCode } from '../../errors/codes.ts';
import { printable } from '../../output/printable.ts';
import { ImageFiles, type ImageFilesOptions } from './image-files.ts';

export async function run(
  context: Context,
  [file]: readonly [string],
  options: ImageFilesOptions & { readonly from?: string },
): Promise<ExitCode> {
  const files = new ImageFiles(options, context.signal);
  try {
    const report = await files.check(file, options.from);
    const record = { file, ...report, findings: report.findings.map((finding) => ({ ...finding })) };
    await context.output.record(record, reportLines(report));
    return report.corruptionCount + report.leakCount > 0 ? EXIT.findings : EXIT.ok;
  } finally {
    await files.close();
  }
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
