import { setTimeout as delay } from 'node:timers/promises';
import type { MachineFolder } from './machine-folder.ts';
import { QmpClient } from './qmp.ts';
import { connectInTurn } from './sockets.ts';
import { trimLogs } from './trim-logs.ts';

/** How often a machine is looked for that does not run, and one whose events another process hears. */
const LOOK_MS = 1000;
/** How often what its guest writes is trimmed. */
const TRIM_MS = 5000;

/** What changes the state of a machine, or looks as if. */
const events: ReadonlySet<string> = new Set([
  'SHUTDOWN',
  'STOP',
  'RESUME',
  'RESET',
  'SUSPEND',
  'WAKEUP',
  'GUEST_PANICKED',
  'BLOCK_IO_ERROR',
]);

/** Hears the events of one machine for all who watch it, as long as anybody does. */
export class Watch {
  readonly #folder: MachineFolder;
  readonly #listeners = new Set<() => void>();
  readonly #ended = new AbortController();

  constructor(folder: MachineFolder) {
    this.#folder = folder;
    this.#run().catch(() => {});
  }

  get isIdle(): boolean {
    return this.#listeners.size === 0;
  }

  add(listener: () => void): void {
    this.#listeners.add(listener);
  }

  delete(listener: () => void): void {
    this.#listeners.delete(listener);
  }

  close(): void {
    this.#ended.abort();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Whatever cannot be heard is looked at: a change is told once too often rather than not. */
  async #run(): Promise<void> {
    const { signal } = this.#ended;
    const trimming = setInterval(() => void trimLogs(this.#folder), TRIM_MS).unref();
    signal.addEventListener('abort', () => clearInterval(trimming), { once: true });
    while (!signal.aborted) {
      const socket = await connectInTurn(this.#folder.events, signal).catch(() => undefined);
      if (socket !== undefined) {
        const end = () => socket.destroy();
        signal.addEventListener('abort', end, { once: true });
        // A turn that comes only when another process is gone is not waited for without looking.
        const looking = setInterval(() => this.#tell(), LOOK_MS);
        const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
        try {
          await QmpClient.start(socket, ({ name }) => {
            if (events.has(name)) this.#tell();
          });
          clearInterval(looking);
          this.#tell();
          await closed;
        } catch {
          // QEMU went away, or this watch ended.
        } finally {
          clearInterval(looking);
          signal.removeEventListener('abort', end);
          socket.destroy();
        }
        if (!signal.aborted) this.#tell();
      }
      await delay(LOOK_MS, undefined, { signal, ref: false }).catch(() => {});
    }
  }
}
