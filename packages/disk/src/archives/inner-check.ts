import { denyReferences } from '../disk/reference-gate.ts';
import type { Findings } from '../formats/findings.ts';
import type { CheckReport, CheckSeverity } from '../formats/format.ts';
import type { ByteSource } from '../io/byte-source.ts';
import { innerFormat } from './inner-image.ts';
import type { TarMember } from './tar/reader.ts';

/** Checks an image that stands inside a file; undefined for a format without structures to check. */
export async function checkInnerImage(
  source: ByteSource,
  allowed: readonly string[],
  signal: AbortSignal | undefined,
): Promise<CheckReport | undefined> {
  const name = await innerFormat(source, allowed, signal);
  const { formatNamed } = await import('../formats/registry.ts');
  return formatNamed(name).check?.(source, { references: denyReferences, signal });
}

/** Adds what was found in a member, where it stands in the archive, to what was found in the archive. */
export function addInnerFindings(
  findings: Findings,
  member: Pick<TarMember, 'name' | 'offsetBytes'>,
  report: CheckReport | undefined,
): void {
  if (report === undefined) return;
  const unlisted: Record<CheckSeverity, number> = {
    corruption: report.corruptionCount,
    leak: report.leakCount,
    warning: report.warningCount,
  };
  for (const { severity, structure, message, offsetBytes } of report.findings) {
    const at = offsetBytes === undefined ? undefined : member.offsetBytes + offsetBytes;
    findings.add(severity, `${member.name}: ${structure}`, message, at);
    unlisted[severity]--;
  }
  for (const severity of ['corruption', 'leak', 'warning'] as const) {
    for (let i = 0; i < unlisted[severity]; i++) findings.add(severity, member.name, 'more of this');
  }
}
