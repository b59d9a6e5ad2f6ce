import { utf8Text, viewOf } from '../bytes/fields.ts';
import { StoreError, type StoreErrorCode } from '../errors.ts';
import { type ByteChannel, fill } from '../io/byte-channel.ts';
import type { Descriptor } from './block-status.ts';
import { Coverage } from './coverage.ts';
import type { RemoteExport } from './handshake.ts';
import { DESCRIPTOR_COUNT_TAKEN, STRING_BYTES_MAX } from './limits.ts';
import {
  CHUNK,
  CHUNK_DONE,
  COMMAND,
  ERRNO,
  hasFlag,
  requestBytes,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_BYTES,
  STRUCTURED_REPLY_MAGIC,
} from './protocol.ts';

/** A request whose answer is not complete. */
interface Pending {
  readonly command: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Where the bytes of a read go; undefined when nobody wants them any more. */
  into: Uint8Array | undefined;
  readonly coverage: Coverage;
  readonly allocationId: number | undefined;
  descriptors: readonly Descriptor[] | undefined;
  error: StoreError | undefined;
  readonly done: PromiseWithResolvers<void>;
}

/** The transmission phase seen from the client: any number of requests at a time, answered in any order. */
export class Requests {
  readonly #channel: ByteChannel;
  readonly #remote: RemoteExport;
  readonly #idleTimeoutMs: number;
  readonly #pending = new Map<bigint, Pending>();
  #nextCookie = 1n;
  #failure: unknown;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  constructor(channel: ByteChannel, remote: RemoteExport, idleTimeoutMs: number) {
    this.#channel = channel;
    this.#remote = remote;
    this.#idleTimeoutMs = idleTimeoutMs;
    void this.#receiveAll();
  }

  /** Fills `into`, at most as long as the server's payload may be. It is left alone once this has settled. */
  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    await this.#send(COMMAND.read, offsetBytes, into.length, { into }, signal);
  }

  /** The states from the offset on, of at least one byte; undefined when the server cannot say. */
  async blockStatus(
    offsetBytes: number,
    lengthBytes: number,
    allocationId: number,
    signal?: AbortSignal,
  ): Promise<readonly Descriptor[] | undefined> {
    const request = await this.#send(COMMAND.blockStatus, offsetBytes, lengthBytes, { allocationId }, signal);
    return request.descriptors;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    const goodbye = { flags: 0, type: COMMAND.disconnect, cookie: 0n, offset: 0n, lengthBytes: 0 };
    const patience = setTimeout(() => this.#channel.destroy(), 1000);
    await this.#channel.send([requestBytes(goodbye)]).then(
      () => this.#channel.finish(),
      () => this.#channel.destroy(),
    );
    clearTimeout(patience);
  }

  async #send(
    command: number,
    offsetBytes: number,
    lengthBytes: number,
    wanted: { readonly into?: Uint8Array; readonly allocationId?: number },
    signal: AbortSignal | undefined,
  ): Promise<Pending> {
    signal?.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure;
    const request: Pending = {
      command,
      offsetBytes,
      lengthBytes,
      into: wanted.into,
      coverage: new Coverage(command === COMMAND.read ? lengthBytes : 0),
      allocationId: wanted.allocationId,
      descriptors: undefined,
      error: undefined,
      done: Promise.withResolvers<void>(),
    };
    const cookie = this.#nextCookie++;
    this.#pending.set(cookie, request);
    this.#watch();
    const onAbort = () => {
      request.into = undefined;
      request.done.reject(signal?.reason);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    const bytes = requestBytes({ flags: 0, type: command, cookie, offset: BigInt(offsetBytes), lengthBytes });
    // A connection that broke is told to all that wait, by the receiver.
    this.#channel.send([bytes]).catch((error) => this.#fail(error));
    try {
      await request.done.promise;
      return request;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  async #receiveAll(): Promise<void> {
    const header = new Uint8Array(
      this.#remote.hasStructuredReplies ? STRUCTURED_REPLY_BYTES : SIMPLE_REPLY_BYTES,
    );
    const magic = header.subarray(0, SIMPLE_REPLY_BYTES);
    const rest = header.subarray(SIMPLE_REPLY_BYTES);
    try {
      // A simple reply has 16 bytes, the head of a chunk four more.
      while (await fill(this.#channel, magic)) {
        const kind = viewOf(header).getUint32(0);
        if (kind === SIMPLE_REPLY_MAGIC) await this.#simpleReply(viewOf(header));
        else if (kind === STRUCTURED_REPLY_MAGIC && rest.length > 0) {
          await fill(this.#channel, rest);
          await this.#chunk(viewOf(header));
        } else throw this.#wrong('an answer has an unknown mark');
      }
      this.#fail(this.#error('STORE_UNREACHABLE', 'the server ended the connection'));
    } catch (error) {
      this.#fail(error);
    }
  }

  async #simpleReply(header: DataView): Promise<void> {
    const cookie = header.getBigUint64(8);
    const request = this.#answered(cookie);
    const errno = header.getUint32(4);
    if (errno !== 0) request.error = this.#errnoError(request, errno, '');
    else if (request.command === COMMAND.read) {
      if (this.#remote.hasStructuredReplies) throw this.#wrong('a read is answered without structure');
      request.coverage.add(0, request.lengthBytes);
      await this.#data(request, 0, request.lengthBytes);
    }
    this.#finish(cookie, request);
  }

  async #chunk(header: DataView): Promise<void> {
    const isLast = hasFlag(header.getUint16(4), CHUNK_DONE);
    const type = header.getUint16(6);
    const cookie = header.getBigUint64(8);
    const lengthBytes = header.getUint32(16);
    const request = this.#answered(cookie);
    const isRead = request.command === COMMAND.read;
    if (type === CHUNK.none && lengthBytes === 0 && isLast) {
      // Nothing but the end.
    } else if (type === CHUNK.offsetData && isRead && lengthBytes > 8) {
      const at = this.#place(request, viewOf(await this.#bytes(8)).getBigUint64(0), lengthBytes - 8);
      await this.#data(request, at, lengthBytes - 8);
    } else if (type === CHUNK.offsetHole && isRead && lengthBytes === 12) {
      const view = viewOf(await this.#bytes(12));
      const at = this.#place(request, view.getBigUint64(0), view.getUint32(8));
      request.into?.fill(0, at, at + view.getUint32(8));
    } else if (type === CHUNK.blockStatus && request.allocationId !== undefined) {
      await this.#status(request, request.allocationId, lengthBytes);
    } else if (type >= 2 ** 15) {
      await this.#errorChunk(request, lengthBytes);
    } else throw this.#wrong(`an answer has a part of type ${type} and ${lengthBytes} bytes`);
    if (isLast) this.#finish(cookie, request);
  }

  async #status(request: Pending, allocationId: number, lengthBytes: number): Promise<void> {
    const count = (lengthBytes - 4) / 8;
    if (count < 1 || !Number.isInteger(count) || count > DESCRIPTOR_COUNT_TAKEN) {
      throw this.#wrong(`a block status has ${lengthBytes} bytes`);
    }
    const view = viewOf(await this.#bytes(lengthBytes));
    if (view.getUint32(0) !== allocationId) return;
    const { minimumBlockBytes } = this.#remote;
    request.descriptors = Array.from({ length: count }, (_, i) => ({
      lengthBytes: view.getUint32(4 + i * 8),
      state: view.getUint32(8 + i * 8),
    }));
    for (const descriptor of request.descriptors) {
      if (descriptor.lengthBytes === 0 || descriptor.lengthBytes % minimumBlockBytes !== 0) {
        throw this.#wrong(`a block status describes ${descriptor.lengthBytes} bytes`);
      }
    }
  }

  async #errorChunk(request: Pending, lengthBytes: number): Promise<void> {
    if (lengthBytes < 6 || lengthBytes > 6 + STRING_BYTES_MAX + 8)
      throw this.#wrong('an error has a wrong length');
    const bytes = await this.#bytes(lengthBytes);
    const textBytes = viewOf(bytes).getUint16(4);
    if (textBytes > lengthBytes - 6) throw this.#wrong('an error has a wrong length');
    const text = utf8Text(bytes.subarray(6, 6 + textBytes));
    request.error ??= this.#errnoError(request, viewOf(bytes).getUint32(0), text);
  }

  /** Where in the answer a part belongs. */
  #place(request: Pending, offset: bigint, lengthBytes: number): number {
    const at = Number(offset - BigInt(request.offsetBytes));
    if (request.coverage.add(at, lengthBytes)) return at;
    throw this.#wrong('a part of an answer lies outside of what was asked for, or comes twice');
  }

  async #data(request: Pending, at: number, lengthBytes: number): Promise<void> {
    for (let done = 0; done < lengthBytes; ) {
      const part = await this.#channel.some(lengthBytes - done);
      if (part === undefined) throw this.#error('STORE_UNREACHABLE', 'the server ended the connection');
      this.#watch();
      request.into?.set(part, at + done);
      done += part.length;
    }
  }

  async #bytes(lengthBytes: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(lengthBytes);
    if (!(await fill(this.#channel, bytes))) {
      throw this.#error('STORE_UNREACHABLE', 'the server ended the connection');
    }
    return bytes;
  }

  #answered(cookie: bigint): Pending {
    this.#watch();
    const request = this.#pending.get(cookie);
    if (request === undefined) throw this.#wrong('it answers what was not asked');
    return request;
  }

  #finish(cookie: bigint, request: Pending): void {
    if (request.error === undefined && !request.coverage.isWhole) {
      throw this.#wrong('an answer ends before all was sent');
    }
    this.#pending.delete(cookie);
    this.#watch();
    // Without a status everything counts as data, which is always right.
    if (request.error === undefined || request.command === COMMAND.blockStatus) request.done.resolve();
    else request.done.reject(request.error);
  }

  /** The server owes an answer as long as requests are open. */
  #watch(): void {
    if (this.#pending.size === 0 || this.#isClosed) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    } else if (this.#timer === undefined) {
      this.#timer = setTimeout(() => {
        const message = `no byte in ${this.#idleTimeoutMs} ms`;
        this.#fail(this.#error('STORE_UNREACHABLE', message));
        this.#channel.destroy();
      }, this.#idleTimeoutMs);
    } else this.#timer.refresh();
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    clearTimeout(this.#timer);
    for (const request of this.#pending.values()) {
      request.into = undefined;
      request.done.reject(this.#failure);
    }
    this.#pending.clear();
    if (!this.#isClosed) this.#channel.destroy();
  }

  #errnoError(request: Pending, errno: number, text: string): StoreError {
    const [name = `error ${errno}`] = Object.entries(ERRNO).find(([, value]) => value === errno) ?? [];
    const code = errno === ERRNO.EPERM ? 'STORE_DENIED' : 'STORE_IO';
    const said = text === '' ? name : `${name}: ${JSON.stringify(text)}`;
    return this.#error(
      code,
      `the server could not read ${request.lengthBytes} bytes at ${request.offsetBytes} (${said})`,
    );
  }

  #wrong(message: string): StoreError {
    return this.#error('STORE_REFUSED', `the server does not keep to NBD: ${message}`);
  }

  #error(code: StoreErrorCode, message: string): StoreError {
    const where = this.#channel.name;
    return new StoreError(code, `${where}: ${message}`, { where });
  }
}
