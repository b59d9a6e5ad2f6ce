import { setTimeout as delay } from 'node:timers/promises';
import type { HypervisorDriver, MachineStatus } from '@gantry/machine';
import type { Database } from '../db/database.ts';
import { findAnyInstance, livePower, notePower } from '../db/repositories/instances.ts';
import { liveJobs } from '../db/repositories/jobs.ts';
import type { InstanceRow } from '../db/schema.ts';
import type { Logger } from '../logger.ts';

/** How long the service waits for its machines when it starts. */
const ADOPTION_MS = 10_000;

type Power = Pick<InstanceRow, 'power_state' | 'power_reason'>;

/** Keeps what the catalogue says of instances' power as the hypervisor has it. */
export class PowerWatch {
  readonly #database: Database;
  readonly #driver: HypervisorDriver;
  readonly #logger: Logger;
  readonly #watched: Map<string, AbortController> = new Map();
  /** Looks at one instance come one after the other, so that the last one counts. */
  readonly #looks: Map<string, Promise<void>> = new Map();
  readonly #listeners: Map<string, Set<() => void>> = new Map();

  constructor(database: Database, driver: HypervisorDriver, logger: Logger) {
    this.#database = database;
    this.#driver = driver;
    this.#logger = logger;
  }

  /**
   * Adopts what runs, forgets machines of terminated instances, and notes what ended while nobody looked. A machine that
   * does not answer is not waited for: it is noted when it does.
   */
  async start(): Promise<void> {
    const known = new Set(await this.#driver.list());
    const jobs = new Set((await liveJobs(this.#database.kysely)).map(({ id }) => id));
    const adopted = [...known].map((id) =>
      this.#adopt(id, jobs).catch((err) => this.#logger.warn({ id, err }, 'a machine could not be adopted')),
    );
    const patience = delay(ADOPTION_MS, undefined, { ref: false });
    await Promise.race([Promise.all(adopted), patience]);
    for (const { id, power_state } of await livePower(this.#database.kysely)) {
      if (power_state === 'STOPPED' || known.has(id)) continue;
      const power = { power_state: 'STOPPED', power_reason: 'the hypervisor knows it no more' } as const;
      await notePower(this.#database.kysely, id, power);
    }
  }

  async #adopt(id: string, liveJobIds: ReadonlySet<string>): Promise<void> {
    const row = await findAnyInstance(this.#database.kysely, id);
    if (row === undefined) {
      this.#logger.warn({ id }, 'the hypervisor has a machine of no instance here');
      return;
    }
    if (row.deleted_at_ms !== null) return this.#driver.undefine(id);
    await this.watch(id);
    // Of jobs that ended with the process that ran them.
    for (const captureId of await this.#driver.captures(id)) {
      if (!liveJobIds.has(captureId)) await this.#driver.releaseCapture(id, captureId);
    }
  }

  /** From now on each change of the machine's state is noted; so is what it is now. */
  async watch(id: string): Promise<void> {
    if (!this.#watched.has(id)) {
      const controller = new AbortController();
      this.#watched.set(id, controller);
      this.#driver.watch(id, () => void this.look(id), controller.signal);
    }
    await this.look(id);
  }

  /** Calls back when the state of a machine may have changed. Returns how to end that. */
  subscribe(id: string, listener: () => void): () => void {
    const listeners = this.#listeners.get(id) ?? new Set();
    this.#listeners.set(id, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#listeners.delete(id);
    };
  }

  /** Notes what the machine is now. */
  look(id: string): Promise<void> {
    const look = (this.#looks.get(id) ?? Promise.resolve()).then(() => this.#look(id));
    this.#looks.set(id, look);
    return look.finally(() => {
      if (this.#looks.get(id) === look) this.#looks.delete(id);
    });
  }

  forget(id: string): void {
    this.#watched.get(id)?.abort();
    this.#watched.delete(id);
  }

  async close(): Promise<void> {
    for (const id of [...this.#watched.keys()]) this.forget(id);
    await Promise.all(this.#looks.values());
  }

  async #look(id: string): Promise<void> {
    try {
      const power = powerOf(await this.#driver.status(id));
      await notePower(this.#database.kysely, id, power);
      for (const listener of this.#listeners.get(id) ?? []) listener();
    } catch (err) {
      this.#logger.warn({ id, err }, 'the state of a machine could not be noted');
    }
  }
}

function powerOf({ state, reason }: MachineStatus): Power {
  if (state === 'running' || state === 'paused') {
    const isPaused = state === 'paused';
    return { power_state: 'RUNNING', power_reason: isPaused ? `paused: ${reason ?? 'unknown'}` : null };
  }
  if (state === 'stopped') return { power_state: 'STOPPED', power_reason: reason ?? null };
  return { power_state: 'STOPPED', power_reason: `crashed: ${reason ?? 'the machine ended by itself'}` };
}
