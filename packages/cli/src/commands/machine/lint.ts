import { lintVirtImage } from '@gantry/machine';
import type { Context } from '../../context.ts';
import { EXIT, type ExitCode } from '../../errors/codes.ts';
import { printable } from '../../output/printable.ts';
import { readDescriptor } from './load.ts';

export async function run(context: Context, [file]: readonly [string]): Promise<ExitCode> {
  const findings = lintVirtImage(await readDescriptor(file), file);
  const errorCount = findings.filter(({ severity }) => severity === 'error').length;
  const lines = findings.map(
    ({ severity, line, column, message }) =>
      `${printable(file)}:${line}:${column}: ${severity}: ${printable(message)}`,
  );
  const record = { file, errorCount, findings: findings.map((finding) => ({ ...finding })) };
  await context.output.record(record, lines.length === 0 ? [`${printable(file)}: nothing is wrong`] : lines);
  return errorCount > 0 ? EXIT.findings : EXIT.ok;
}
