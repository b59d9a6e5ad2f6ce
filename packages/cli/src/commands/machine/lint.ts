import { lintVirtImage } from '@gantry/machine';
import type { Context } from '../../context.ts';
import { EXIT, type ExitCode } from '../../errors/codes.ts';
import { printable } from '../../output/printable.ts';
import { type OpenedDescriptor, openDescriptor, readMachine } from './descriptor.ts';

interface Finding {
  readonly severity: 'error' | 'warning';
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

export async function run(
  context: Context,
  [file]: readonly [string],
  { system }: { readonly system?: string },
): Promise<ExitCode> {
  const opened = await openDescriptor(context, file);
  const { name } = opened;
  const findings = findingsIn(opened, system);
  const errorCount = findings.filter(({ severity }) => severity === 'error').length;
  const lines = findings.map(
    ({ severity, line, column, message }) =>
      `${printable(name)}:${line}:${column}: ${severity}: ${printable(message)}`,
  );
  const record = { file, errorCount, findings: findings.map((finding) => ({ ...finding })) };
  await context.output.record(record, lines.length === 0 ? [`${printable(name)}: nothing is wrong`] : lines);
  return errorCount > 0 ? EXIT.findings : EXIT.ok;
}

/** A virt-image by its grammar; of the other kinds, what is not in the machine that is read of them. */
function findingsIn(opened: OpenedDescriptor, system: string | undefined): readonly Finding[] {
  const { bytes, kind, name } = opened;
  if (kind === 'virt-image') return lintVirtImage(bytes, name);
  return readMachine(opened, { system }).warnings.map((warning) => {
    const [, line = '1', column = '1', message = warning] =
      /^(?::(\d+):(\d+))?: ([\s\S]*)$/.exec(warning.startsWith(name) ? warning.slice(name.length) : '') ?? [];
    return { severity: 'warning', line: Number(line), column: Number(column), message };
  });
}
