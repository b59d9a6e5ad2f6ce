import { ImageError } from '../../errors.ts';
import type { Findings } from '../findings.ts';
import type { CheckSeverity } from '../format.ts';

/** What is found in one file of a disk. */
export interface PartFindings {
  add(severity: CheckSeverity, structure: string, message: string, offsetBytes?: number): void;
}

/** Findings that say which file of several they are about. */
export function findingsIn(findings: Findings, fileName: string): PartFindings {
  return {
    add: (severity, structure, message, offsetBytes) =>
      findings.add(severity, structure, `${fileName}: ${message}`, offsetBytes),
  };
}

/** Damage that nothing behind it can be checked for is a finding too; anything else is thrown on. */
export function addDamage(findings: PartFindings, error: unknown): void {
  const damage =
    error instanceof ImageError && (error.code === 'IMAGE_MALFORMED' || error.code === 'IMAGE_TRUNCATED');
  if (!damage) throw error;
  findings.add('corruption', error.structure, error.message, error.offsetBytes);
}
