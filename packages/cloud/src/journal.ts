import { randomUUID } from 'node:crypto';
import { link, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { StoreError, storeError, syncFolder } from '@gantry/disk';

/** No journal of ours is longer: an archive's document of 1 MiB as a text is the most that one holds. */
const JOURNAL_BYTES_MAX = 4 * 2 ** 20;

/** What every journal holds, beside its own. */
interface JournalHead {
  /** Which kind of work it is of. */
  readonly journal: string;
  /** Changes with the process that goes on with it. */
  readonly writer: string;
}

/**
 * What a long work has done and is about to do, in a file: written before and after each step, whole, durable and
 * in one go, so that the work goes on from there after a kill at any moment.
 */
export class Journal<State extends object> {
  readonly path: string;
  readonly #head: JournalHead;
  #state: State;

  private constructor(path: string, kind: string, state: State) {
    this.path = path;
    this.#head = { journal: kind, writer: randomUUID() };
    this.#state = state;
  }

  get state(): State {
    return this.#state;
  }

  /** Starts a journal. Throws STORE_EXISTS when one is there. */
  static async create<State extends object>(
    path: string,
    kind: string,
    state: State,
  ): Promise<Journal<State>> {
    const journal = new Journal<State>(path, kind, state);
    const first = await journal.#written();
    try {
      // Unlike a rename, this does not replace what is there: of two that start at once, one gets the name.
      await link(first, path);
      await syncFolder(dirname(path));
    } catch (error) {
      throw storeError(error, path);
    } finally {
      await rm(first, { force: true });
    }
    return journal;
  }

  /**
   * Goes on with a journal; who had it before finds that out when it next writes. `check` looks at what was read and
   * throws for what it is not. Throws STORE_REFUSED for what is no journal of this kind.
   */
  static async open<State extends object>(
    path: string,
    kind: string,
    check: (state: object) => state is State,
  ): Promise<Journal<State>> {
    const found = await readJournal(path);
    const { journal, writer, ...state } = found ?? {};
    if (journal !== kind || !check(state)) {
      throw new StoreError('STORE_REFUSED', `${path} is no journal of ${kind}`, {
        where: path,
        hint: 'name the journal that the command wrote, unchanged',
      });
    }
    const opened = new Journal<State>(path, kind, state);
    await opened.#write();
    return opened;
  }

  /** Takes in what changed, and is durable when it returns. Throws STORE_CHANGED when another process goes on with it. */
  async save(change: Partial<State>): Promise<void> {
    const found = await readJournal(this.path);
    if (found?.writer !== this.#head.writer) {
      throw new StoreError('STORE_CHANGED', `another process goes on with ${this.path}`, {
        where: this.path,
        hint: 'leave it to that one',
      });
    }
    this.#state = { ...this.#state, ...change };
    await this.#write();
  }

  async #write(): Promise<void> {
    const next = await this.#written();
    try {
      await rename(next, this.path);
      await syncFolder(dirname(this.path));
    } catch (error) {
      throw storeError(error, this.path);
    }
  }

  /** The journal as it is now, in a file beside its own. */
  async #written(): Promise<string> {
    const next = `${this.path}.new`;
    try {
      // Never written over: after a kill it can be another name of the journal itself.
      await rm(next, { force: true });
      const handle = await open(next, 'wx', 0o600);
      try {
        await handle.writeFile(`${JSON.stringify({ ...this.#head, ...this.#state }, null, 2)}\n`);
        await handle.sync();
      } finally {
        await handle.close();
      }
      return next;
    } catch (error) {
      throw storeError(error, this.path);
    }
  }
}

/** The object in the file; undefined for a file that holds none. Throws STORE_NOT_FOUND when there is no file. */
async function readJournal(path: string): Promise<{ readonly [name: string]: unknown } | undefined> {
  const text = await shortText(path);
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

/** What is in the file; undefined when that is too long to be a journal. */
async function shortText(path: string): Promise<string | undefined> {
  try {
    const { size } = await stat(path);
    return size > JOURNAL_BYTES_MAX ? undefined : await readFile(path, 'utf8');
  } catch (error) {
    throw storeError(error, path);
  }
}
