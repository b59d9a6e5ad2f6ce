import type { Socket } from 'node:net';
import type { DetailValue } from '@gantry/disk';
import { StoreError } from '@gantry/disk';

/** QEMU's answers are some KiB; what is longer is no QMP. */
const LINE_LENGTH_MAX: number = 4 * 1024 * 1024;

export interface QmpEvent {
  readonly name: string;
  readonly data: Readonly<Record<string, DetailValue>>;
}

type QmpMessage = {
  readonly QMP?: object;
  readonly return?: DetailValue;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly id?: number;
  readonly event?: string;
  readonly data?: Readonly<Record<string, DetailValue>>;
};

/** One conversation with QEMU in its machine protocol (QMP): commands are answered in order, events come in between. */
export class QmpClient {
  readonly #socket: Socket;
  readonly #onEvent: (event: QmpEvent) => void;
  readonly #waiting = new Map<number, PromiseWithResolvers<DetailValue>>();
  readonly #greeting: PromiseWithResolvers<void> = Promise.withResolvers();
  #lastId = 0;
  #rest = '';
  #failure: Error | undefined;

  private constructor(socket: Socket, onEvent: (event: QmpEvent) => void) {
    this.#socket = socket;
    this.#onEvent = onEvent;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#take(text));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(undefined));
  }

  /** Answers QEMU's greeting on a connected socket. Throws STORE_IO when it is no QMP. */
  static async start(socket: Socket, onEvent: (event: QmpEvent) => void = () => {}): Promise<QmpClient> {
    const client = new QmpClient(socket, onEvent);
    await client.#greeting.promise;
    await client.execute('qmp_capabilities');
    return client;
  }

  /** Runs a command; gives its answer. Throws STORE_IO with QEMU's own words when it fails, or goes away. */
  async execute(command: string, args: Readonly<Record<string, DetailValue>> = {}): Promise<DetailValue> {
    if (this.#failure !== undefined) throw this.#failure;
    const id = ++this.#lastId;
    const answer = Promise.withResolvers<DetailValue>();
    this.#waiting.set(id, answer);
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    return answer.promise;
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line.trim() !== '') this.#read(line);
    }
    if (this.#rest.length > LINE_LENGTH_MAX)
      this.#socket.destroy(qmpError('QEMU sends a line without an end'));
  }

  #read(line: string): void {
    let message: QmpMessage;
    try {
      message = JSON.parse(line);
    } catch {
      this.#socket.destroy(qmpError('what QEMU sends is no JSON'));
      return;
    }
    const { event, data = {}, id, error } = message;
    if (message.QMP !== undefined) this.#greeting.resolve();
    else if (event !== undefined) this.#onEvent({ name: event, data });
    else if (id !== undefined) {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(message.return ?? null);
      else waiting?.reject(qmpError(`QEMU refuses: ${error.desc}`));
    }
  }

  #fail(cause: Error | undefined): void {
    this.#failure ??= cause instanceof StoreError ? cause : qmpError('QEMU went away', cause);
    this.#greeting.promise.catch(() => {});
    this.#greeting.reject(this.#failure);
    for (const waiting of this.#waiting.values()) waiting.reject(this.#failure);
    this.#waiting.clear();
  }
}

function qmpError(message: string, cause?: Error): StoreError {
  return new StoreError('STORE_IO', message, { where: 'QEMU', cause });
}
