import type { CheckFinding, CheckReport, CheckSeverity } from './format.ts';

/** How many findings a report lists; the counts go on. A damaged table can hold millions of them. */
export const checkFindingLimit = 1000;

/** Gathers what a check finds, in the order that it is found. */
export class Findings {
  readonly #listed: CheckFinding[] = [];
  readonly #counts: Record<CheckSeverity, number> = { corruption: 0, leak: 0, warning: 0 };

  add(severity: CheckSeverity, structure: string, message: string, offsetBytes?: number): void {
    this.#counts[severity]++;
    if (this.#listed.length < checkFindingLimit) {
      this.#listed.push({ severity, structure, message, offsetBytes });
    }
  }

  report(format: string): CheckReport {
    return {
      format,
      findings: this.#listed,
      corruptionCount: this.#counts.corruption,
      leakCount: this.#counts.leak,
      warningCount: this.#counts.warning,
    };
  }
}
