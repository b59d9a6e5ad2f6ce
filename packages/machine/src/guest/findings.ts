import { ImageError } from '@gantry/disk';
import { FINDING_COUNT_MAX } from './limits.ts';

/** `error`: the machine would not start, or not from this; `warning`: it may not, or not as before. */
export type GuestFindingSeverity = 'error' | 'warning' | 'note';

/** One thing that was seen and matters to who starts the machine elsewhere. */
export interface GuestFinding {
  readonly severity: GuestFindingSeverity;
  /** Stable, upper case: `VIRTIO_MISSING`. */
  readonly code: string;
  /** Where it was seen: `partition 2: /etc/fstab`. */
  readonly where: string;
  /** One sentence. */
  readonly message: string;
  /** What the user can do. */
  readonly hint?: string;
}

/** The findings of one inspection, in the order in which they were made. */
export class Findings {
  readonly list: GuestFinding[] = [];
  readonly #seen: Set<string> = new Set();

  /** Said once, however often it is found. */
  add(finding: GuestFinding): void {
    const key = JSON.stringify([finding.code, finding.where, finding.message]);
    if (this.#seen.has(key) || this.list.length >= FINDING_COUNT_MAX) return;
    this.#seen.add(key);
    this.list.push(finding);
  }

  has(code: string): boolean {
    return this.list.some((finding) => finding.code === code);
  }

  /** Does a part of the inspection; what the guest's bytes do not allow becomes a finding, and the rest goes on. */
  async guard<Result>(where: string, work: () => Promise<Result>): Promise<Result | undefined> {
    try {
      return await work();
    } catch (error) {
      this.rethrowUnlessImage(error);
      this.#addError(where, error);
      return undefined;
    }
  }

  /** Stores that fail, signals, images that cannot be read in any order: those are no findings about the guest. */
  rethrowUnlessImage(error: unknown): asserts error is ImageError {
    if (!(error instanceof ImageError) || findingCodes[error.code] === undefined) throw error;
  }

  #addError(where: string, { code, message, hint }: ImageError): void {
    const isSpent = message.startsWith('the inspection ends here');
    this.add({
      severity: isSpent || code !== 'IMAGE_UNSUPPORTED' ? 'warning' : 'note',
      code: isSpent ? 'INSPECTION_LIMIT' : (findingCodes[code] ?? 'UNREADABLE'),
      where: isSpent ? 'guest inspection' : where,
      message,
      ...(hint !== undefined && { hint }),
    });
  }
}

const findingCodes: Readonly<Partial<Record<ImageError['code'], string>>> = {
  IMAGE_UNSUPPORTED: 'NOT_LOOKED_INTO',
  IMAGE_LIMIT: 'BEYOND_LIMITS',
  IMAGE_MALFORMED: 'DAMAGED',
  IMAGE_TRUNCATED: 'DAMAGED',
};
