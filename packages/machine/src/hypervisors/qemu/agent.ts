import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { type DetailValue, StoreError } from '@gantry/disk';
import { connectInTurn } from './sockets.ts';

/** An agent that runs answers at once; most guests have none, and nothing tells so. */
const PRESENT_MS = 2000;
/** How long file systems may take to write what they hold. Windows freezes for 10 seconds at most. */
const FREEZE_MS = 30_000;
const THAW_MS = 10_000;
const POLL_MS = 100;
const ANSWER_LENGTH_MAX = 65_536;
/** Begins an answer to `guest-sync-delimited` (QEMU's qga/qapi-schema.json), and ends what was cut off before. */
const DELIMITER = '\u00ff';

type Answer = {
  readonly return?: DetailValue;
  readonly error?: { readonly desc?: string };
};

/** How long a guest is kept frozen: no longer than Windows bears. */
const FROZEN_MS = 9000;
/** How long an agent that was told to freeze has to come back. */
const COME_BACK_MS = 60_000;

export interface FrozenResult<Result> {
  readonly value: Result;
  /** False when the guest had to go on before the task had ended. */
  readonly isFrozen: boolean;
}

/**
 * Runs a task while the file systems of the guest are frozen. They thaw when it has ended, however it ends, and after
 * some seconds in any case. Gives undefined, with the task not run, when the guest has no agent, or one that does not
 * freeze. Throws STORE_IO when the guest cannot be made to go on.
 */
export async function whileFrozen<Result>(
  socketPath: string,
  task: () => Promise<Result>,
): Promise<FrozenResult<Result> | undefined> {
  const agent = await Agent.connect(socketPath, PRESENT_MS);
  if (agent === undefined) return undefined;
  try {
    await agent.execute('guest-fsfreeze-freeze', FREEZE_MS);
  } catch {
    // It may have frozen some of them, or do so later.
    agent.close();
    await thaw(socketPath);
    return undefined;
  }
  agent.close();
  let thawing: Promise<void> | undefined;
  let isFrozen = true;
  const timer = setTimeout(() => {
    isFrozen = false;
    thawing ??= thaw(socketPath);
    thawing.catch(() => {});
  }, FROZEN_MS);
  try {
    return { value: await task(), isFrozen };
  } finally {
    clearTimeout(timer);
    thawing ??= thaw(socketPath);
    await thawing;
  }
}

/** Lets the file systems of a guest go on. Nothing to do for one that is not frozen. */
export async function thaw(socketPath: string): Promise<void> {
  for (const endMs = Date.now() + COME_BACK_MS; ; ) {
    const agent = await Agent.connect(socketPath, THAW_MS);
    try {
      if (agent !== undefined) {
        await agent.execute('guest-fsfreeze-thaw', THAW_MS);
        return;
      }
    } catch (error) {
      // What it may not thaw, it did not freeze.
      if (error instanceof AgentRefusal && (await agent?.isFrozen()) !== true) return;
    } finally {
      agent?.close();
    }
    if (Date.now() >= endMs)
      throw agentError('the guest was told to freeze, and its agent does not let it go on');
    await delay(POLL_MS);
  }
}

/** The agent answers, and does not do it. */
class AgentRefusal extends Error {}

class Agent {
  readonly #socket: Socket;
  readonly #answers: AsyncIterator<string>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#answers = lines(socket);
  }

  /** Undefined when no agent answers. */
  static async connect(path: string, waitMs: number): Promise<Agent | undefined> {
    const socket = await connectInTurn(path, AbortSignal.timeout(waitMs)).catch(() => undefined);
    if (socket === undefined) return undefined;
    socket.setEncoding('latin1');
    const agent = new Agent(socket);
    try {
      await agent.#synchronise(waitMs);
      return agent;
    } catch {
      agent.close();
      return undefined;
    }
  }

  /** What others asked of the agent before may be answered now; the answer with our number is after all of it. */
  async #synchronise(waitMs: number): Promise<void> {
    const id = Math.floor(Math.random() * 2 ** 31);
    const request = { execute: 'guest-sync-delimited', arguments: { id } };
    this.#socket.write(`${DELIMITER}${JSON.stringify(request)}\n`, 'latin1');
    await this.#within(waitMs, async () => {
      while ((await this.#next()).return !== id);
    });
  }

  async execute(command: string, waitMs: number): Promise<DetailValue> {
    this.#socket.write(`${JSON.stringify({ execute: command })}\n`);
    const { error, return: value = null } = await this.#within(waitMs, () => this.#next());
    if (error === undefined) return value;
    throw new AgentRefusal(error.desc ?? command);
  }

  async isFrozen(): Promise<boolean> {
    return (await this.execute('guest-fsfreeze-status', THAW_MS).catch(() => 'thawed')) === 'frozen';
  }

  close(): void {
    this.#socket.destroy();
  }

  async #within<Value>(waitMs: number, task: () => Promise<Value>): Promise<Value> {
    const timer = setTimeout(() => this.#socket.destroy(), waitMs);
    try {
      return await task();
    } finally {
      clearTimeout(timer);
    }
  }

  async #next(): Promise<Answer> {
    for (;;) {
      const { value: line, done } = await this.#answers.next();
      if (done === true) throw agentError("the guest's agent does not answer");
      try {
        return JSON.parse(line.slice(line.lastIndexOf(DELIMITER) + 1));
      } catch {
        // The rest of an answer to somebody else.
      }
    }
  }
}

async function* lines(socket: Socket): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of socket) {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop() ?? '';
    yield* parts;
    if (rest.length > ANSWER_LENGTH_MAX) return;
  }
}

function agentError(message: string): StoreError {
  return new StoreError('STORE_IO', message, { where: 'guest agent' });
}
