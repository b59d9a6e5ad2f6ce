import { availableParallelism, totalmem } from 'node:os';
import { type HostShare, lockedHostShare } from '../db/repositories/instances.ts';
import { sumOfVolumes } from '../db/repositories/volumes.ts';
import type { Queries } from '../db/transactions.ts';
import { DomainError } from './errors.ts';

/** What instances of all tenancies together may take of the host. */
export interface HostLimits {
  /** By default four times what the host has. */
  readonly cpuCount?: number | undefined;
  /** By default what the host has, but for 1 GiB. */
  readonly memoryBytes?: number | undefined;
  /** Sizes of all volumes together; by default as much as anybody likes. */
  readonly volumeBytes?: number | undefined;
}

const CPUS_A_HOST_CPU = 4;
const MEMORY_FOR_THE_HOST: number = 1024 ** 3;

/** Keeps what runs within what the host can bear. */
export class HostQuota {
  readonly #cpuCount: number;
  readonly #memoryBytes: number;
  readonly #volumeBytes: number;

  constructor({
    cpuCount = CPUS_A_HOST_CPU * availableParallelism(),
    memoryBytes = Math.max(0, totalmem() - MEMORY_FOR_THE_HOST),
    volumeBytes = Number.POSITIVE_INFINITY,
  }: HostLimits = {}) {
    this.#cpuCount = cpuCount;
    this.#memoryBytes = memoryBytes;
    this.#volumeBytes = volumeBytes;
  }

  /** Throws QUOTA unless one more may run; in the transaction that starts it. */
  async requireRun(transaction: Queries, more: HostShare): Promise<void> {
    const taken = await lockedHostShare(transaction);
    requireWithin('CPUs', 'instance-cpus', taken.cpuCount, more.cpuCount, this.#cpuCount);
    requireWithin(
      'bytes of memory',
      'instance-memory',
      taken.memoryBytes,
      more.memoryBytes,
      this.#memoryBytes,
    );
  }

  /** Throws QUOTA unless there may be one more volume of this size; in the transaction that makes it. */
  async requireVolume(transaction: Queries, sizeBytes: number): Promise<void> {
    if (this.#volumeBytes === Number.POSITIVE_INFINITY) return;
    // Others that start or make something wait.
    await lockedHostShare(transaction);
    requireWithin(
      'bytes of volumes',
      'instance-disk',
      await sumOfVolumes(transaction),
      sizeBytes,
      this.#volumeBytes,
    );
  }
}

function requireWithin(what: string, option: string, taken: number, more: number, limit: number): void {
  if (taken + more <= limit) return;
  throw new DomainError(
    'QUOTA',
    `this needs ${more} ${what}, and of ${limit} for all instances ${taken} are taken`,
    {
      hint: `stop or terminate others, choose a smaller shape, or let the operator allow more: gantry serve --${option}`,
    },
  );
}
