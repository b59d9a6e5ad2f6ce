import type { DetailValue } from '@gantry/disk';
import type { Loss, MachineFacts } from './model.ts';

/** Gathers what a writer could not say. */
export class Losses {
  readonly #losses: Loss[] = [];

  /** In the order in which they were told. */
  get all(): readonly Loss[] {
    return this.#losses;
  }

  /** A field and its value, whatever JSON it is; nothing is lost of one that was not there. */
  add(field: string, value: unknown, why: string): void {
    if (value !== undefined) this.#losses.push({ field, value: plain(value), why });
  }

  /** Fields of which the descriptor holds nothing, each with the reason. */
  addFields(machine: MachineFacts, reasons: { readonly [field in keyof MachineFacts]?: string }): void {
    for (const [field, why] of Object.entries(reasons)) {
      this.add(field, machine[field as keyof MachineFacts], why);
    }
  }
}

/** What is told goes into answers and logs: numbers that JSON lacks become words. */
function plain(value: unknown): DetailValue {
  return JSON.parse(
    JSON.stringify(value, (_, part) =>
      typeof part === 'number' && !Number.isFinite(part) ? String(part) : part,
    ),
  );
}
