import { utf8Bytes } from '../bytes/fields.ts';
import { invariant, StoreError } from '../errors.ts';
import { type ByteChannel, fill, skip } from '../io/byte-channel.ts';
import { blockStatus } from './block-status.ts';
import { CONNECTION_BYTES_MAX, PAYLOAD_BYTES_MAX, READ_PIECE_BYTES, REQUEST_COUNT_MAX } from './limits.ts';
import { MemoryBudget } from './memory-budget.ts';
import { ALLOCATION_ID, type Session } from './negotiation.ts';
import {
  CHUNK,
  COMMAND,
  COMMAND_FLAG,
  chunkBytes,
  ERRNO,
  type ErrnoName,
  hasFlag,
  parseRequest,
  REQUEST_BYTES,
  type Request,
  STRUCTURED_REPLY_BYTES,
  simpleReplyBytes,
} from './protocol.ts';
import { readSpans } from './read-spans.ts';
import { Slots } from './slots.ts';

/** An answer of the protocol's own to a request that cannot be done. */
class Refusal extends Error {
  readonly errno: ErrnoName;

  constructor(errno: ErrnoName, message: string) {
    super(message);
    this.errno = errno;
  }
}

const NOTHING = new Uint8Array(0);

/**
 * The transmission phase of one connection: requests are taken while there is room for them, worked on at the same
 * time, and answered as they are done.
 */
export class Transmission {
  readonly #channel: ByteChannel;
  readonly #session: Session;
  readonly #onError: (error: unknown) => void;
  readonly #memory = new MemoryBudget(CONNECTION_BYTES_MAX);
  readonly #slots = new Slots(REQUEST_COUNT_MAX);
  readonly #gone = new AbortController();
  #isStopping = false;

  constructor(channel: ByteChannel, session: Session, onError: (error: unknown) => void) {
    this.#channel = channel;
    this.#session = session;
    this.#onError = onError;
    channel.closed.then(() => this.#gone.abort());
  }

  /** Settles when the client is done and has its answers; throws when the connection breaks or is not one of NBD. */
  async run(): Promise<void> {
    for (let next = await this.#next(); next !== undefined; next = await this.#next()) {
      void this.#serve(next.request, next.payload);
    }
    await this.settled();
  }

  /** Settles when nothing is at work any more. */
  settled(): Promise<void> {
    return this.#slots.idle();
  }

  /** The next request, with a slot; undefined after the last. */
  async #next(): Promise<
    { readonly request: Request; readonly payload: Uint8Array | undefined } | undefined
  > {
    await this.#slots.take();
    try {
      const header = new Uint8Array(REQUEST_BYTES);
      const request = (await fill(this.#channel, header)) ? this.#parsed(header) : undefined;
      if (request !== undefined && request.type !== COMMAND.disconnect) {
        // The payload of a write comes before the next request.
        const payload = request.type === COMMAND.write ? await this.#payload(request) : undefined;
        return { request, payload };
      }
    } catch (error) {
      this.#slots.give();
      throw error;
    }
    this.#slots.give();
    return undefined;
  }

  /** New requests are refused from now on. Settles when those at work are answered. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    // One slot waits for the next request.
    await this.#slots.idle(1);
  }

  /** After anything else, where the next request begins is not known. */
  #parsed(header: Uint8Array): Request {
    const request = parseRequest(header);
    if (request !== undefined) return request;
    const where = this.#channel.name;
    throw new StoreError('STORE_REFUSED', `${where} sent what is no request of NBD`, { where });
  }

  /** The data of a write; undefined, and taken in, when it is refused anyway. */
  async #payload(request: Request): Promise<Uint8Array | undefined> {
    const { lengthBytes } = request;
    if (lengthBytes > PAYLOAD_BYTES_MAX || this.#refusal(request) !== undefined) {
      await skip(this.#channel, lengthBytes);
      return undefined;
    }
    const payload = await this.#memory.take(lengthBytes);
    if (lengthBytes > 0 && !(await fill(this.#channel, payload))) {
      throw new StoreError('STORE_UNREACHABLE', `${this.#channel.name} ended in the middle of a write`, {
        where: this.#channel.name,
      });
    }
    return payload;
  }

  /** Answers one request; a failure to do so breaks the connection. */
  async #serve(request: Request, payload: Uint8Array | undefined): Promise<void> {
    try {
      await this.#answer(request, payload).catch((error) => this.#sendError(request, error));
    } catch {
      this.#channel.destroy();
    } finally {
      if (payload !== undefined) this.#memory.give(payload);
      this.#slots.give();
    }
  }

  async #answer(request: Request, payload: Uint8Array | undefined): Promise<void> {
    const refusal = this.#refusal(request);
    if (refusal !== undefined) throw refusal;
    const { writable } = this.#session.export;
    const { flags, type, lengthBytes } = request;
    const offsetBytes = Number(request.offset);
    switch (type) {
      case COMMAND.read:
        return this.#read(request, offsetBytes);
      case COMMAND.blockStatus:
        return this.#sendStatus(request, offsetBytes);
      case COMMAND.write:
        invariant(payload !== undefined, 'what is not refused has its payload');
        await writable?.write(offsetBytes, payload);
        break;
      case COMMAND.writeZeroes:
        await writable?.writeZeros(offsetBytes, lengthBytes, {
          allocated: hasFlag(flags, COMMAND_FLAG.noHole),
          signal: this.#gone.signal,
        });
        break;
      case COMMAND.trim:
        await writable?.discard(offsetBytes, lengthBytes, this.#gone.signal);
        break;
    }
    if (type === COMMAND.flush || hasFlag(flags, COMMAND_FLAG.fua)) await writable?.flush();
    await this.#sendDone(request);
  }

  /** What is wrong with a request as such. */
  #refusal(request: Request): Refusal | undefined {
    const { flags, type, offset, lengthBytes } = request;
    const { export: served, hasAllocation, hasStructuredReplies } = this.#session;
    if (this.#isStopping) return new Refusal('ESHUTDOWN', 'the server is stopping');
    const allowed = allowedFlags(type);
    if (allowed === undefined) return new Refusal('EINVAL', 'the command is not known');
    const isWrite = type === COMMAND.write || type === COMMAND.trim || type === COMMAND.writeZeroes;
    if (isWrite && served.writable === undefined) return new Refusal('EPERM', 'the export is read-only');
    const known = allowed.filter((flag) => {
      if (flag === COMMAND_FLAG.fua) return served.writable !== undefined;
      return flag !== COMMAND_FLAG.df || hasStructuredReplies;
    });
    const rest = known.reduce((sum, flag) => (hasFlag(sum, flag) ? sum - flag : sum), flags);
    if (rest !== 0) return new Refusal('EINVAL', 'a flag is not one of this command');
    if (type === COMMAND.flush) {
      return offset === 0n && lengthBytes === 0 ? undefined : new Refusal('EINVAL', 'a flush has no range');
    }
    if (offset + BigInt(lengthBytes) > BigInt(served.disk.virtualSizeBytes)) {
      const errno = type === COMMAND.write || type === COMMAND.writeZeroes ? 'ENOSPC' : 'EINVAL';
      return new Refusal(errno, 'the range ends behind the end of the disk');
    }
    const hasData = type === COMMAND.read || type === COMMAND.write;
    if (hasData && lengthBytes > PAYLOAD_BYTES_MAX) {
      return new Refusal('EINVAL', `a request carries at most ${PAYLOAD_BYTES_MAX} bytes`);
    }
    if (type === COMMAND.blockStatus && !hasAllocation) {
      return new Refusal('EINVAL', 'no metadata context was chosen');
    }
    if (type === COMMAND.blockStatus && lengthBytes === 0) return new Refusal('EINVAL', 'the range is empty');
    // Zeros that take up room are written like other bytes.
    if (hasFlag(flags, COMMAND_FLAG.fastZero) && hasFlag(flags, COMMAND_FLAG.noHole)) {
      return new Refusal('ENOTSUP', 'writing zeros that take up room is not fast');
    }
    return undefined;
  }

  async #read(request: Request, offsetBytes: number): Promise<void> {
    const { cookie, flags, lengthBytes } = request;
    const { disk } = this.#session.export;
    const { signal } = this.#gone;
    if (lengthBytes === 0) return this.#sendDone(request);
    if (!this.#session.hasStructuredReplies) {
      return this.#sendData(offsetBytes, lengthBytes, simpleReplyBytes(cookie, 0));
    }
    const endBytes = offsetBytes + lengthBytes;
    const spans = hasFlag(flags, COMMAND_FLAG.df)
      ? readSpans(disk, offsetBytes, endBytes, { isWhole: true, signal })
      : readSpans(disk, offsetBytes, endBytes, { mostBytes: READ_PIECE_BYTES, signal });
    const sent: Promise<void>[] = [];
    try {
      for await (const span of spans) {
        const isLast = span.offsetBytes + span.lengthBytes === endBytes;
        const type = span.isZero ? CHUNK.offsetHole : CHUNK.offsetData;
        const head = span.isZero
          ? chunkBytes(cookie, type, isLast, 12)
          : chunkBytes(cookie, type, isLast, 8, span.lengthBytes);
        head.setBigUint64(STRUCTURED_REPLY_BYTES, BigInt(span.offsetBytes));
        const headBytes = new Uint8Array(head.buffer);
        if (span.isZero) {
          head.setUint32(STRUCTURED_REPLY_BYTES + 8, span.lengthBytes);
          sent.push(this.#channel.send([headBytes]));
        } else {
          // Read, and only then waited for: the next piece is read while this one is taken.
          const piece = await this.#readPiece(span.offsetBytes, span.lengthBytes);
          sent.push(this.#channel.send([headBytes, piece]).finally(() => this.#memory.give(piece)));
        }
        sent.at(-1)?.catch(() => {});
      }
    } finally {
      await Promise.all(sent);
    }
  }

  async #sendData(offsetBytes: number, lengthBytes: number, head: Uint8Array): Promise<void> {
    const piece = await this.#readPiece(offsetBytes, lengthBytes);
    await this.#channel.send([head, piece]).finally(() => this.#memory.give(piece));
  }

  async #readPiece(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    const piece = await this.#memory.take(lengthBytes);
    try {
      await this.#session.export.disk.read(offsetBytes, piece, this.#gone.signal);
      return piece;
    } catch (error) {
      this.#memory.give(piece);
      throw error;
    }
  }

  async #sendStatus({ cookie, flags, lengthBytes }: Request, offsetBytes: number): Promise<void> {
    const { disk } = this.#session.export;
    const isOne = hasFlag(flags, COMMAND_FLAG.reqOne);
    const descriptors = await blockStatus(
      disk,
      offsetBytes,
      offsetBytes + lengthBytes,
      isOne,
      this.#gone.signal,
    );
    const view = chunkBytes(cookie, CHUNK.blockStatus, true, 4 + descriptors.length * 8);
    view.setUint32(STRUCTURED_REPLY_BYTES, ALLOCATION_ID);
    descriptors.forEach((descriptor, index) => {
      const at = STRUCTURED_REPLY_BYTES + 4 + index * 8;
      view.setUint32(at, descriptor.lengthBytes);
      view.setUint32(at + 4, descriptor.state);
    });
    await this.#channel.send([new Uint8Array(view.buffer)]);
  }

  async #sendDone({ cookie }: Request): Promise<void> {
    const isStructured = this.#session.hasStructuredReplies;
    const bytes = isStructured
      ? new Uint8Array(chunkBytes(cookie, CHUNK.none, true, 0).buffer)
      : simpleReplyBytes(cookie, 0);
    await this.#channel.send([bytes]);
  }

  async #sendError({ cookie }: Request, error: unknown): Promise<void> {
    if (this.#gone.signal.aborted) throw error;
    if (!(error instanceof Refusal)) this.#onError(error);
    const errno = ERRNO[error instanceof Refusal ? error.errno : errnoOf(error)];
    if (!this.#session.hasStructuredReplies) {
      await this.#channel.send([simpleReplyBytes(cookie, errno)]);
      return;
    }
    // What is wrong with the image is told to who serves it, not to who reads it.
    const message = error instanceof Refusal ? utf8Bytes(error.message) : NOTHING;
    const head = chunkBytes(cookie, CHUNK.error, true, 6, message.length);
    head.setUint32(STRUCTURED_REPLY_BYTES, errno);
    head.setUint16(STRUCTURED_REPLY_BYTES + 4, message.length);
    await this.#channel.send([new Uint8Array(head.buffer), message]);
  }
}

/** Undefined for what is no command. */
function allowedFlags(type: number): readonly number[] | undefined {
  const { fua, noHole, df, reqOne, fastZero } = COMMAND_FLAG;
  switch (type) {
    case COMMAND.read:
      return [fua, df];
    case COMMAND.write:
    case COMMAND.flush:
    case COMMAND.trim:
    case COMMAND.cache:
      return [fua];
    case COMMAND.writeZeroes:
      return [fua, noHole, fastZero];
    case COMMAND.blockStatus:
      return [fua, reqOne];
    default:
      return undefined;
  }
}

function errnoOf(error: unknown): ErrnoName {
  return error instanceof StoreError && error.code === 'STORE_FULL' ? 'ENOSPC' : 'EIO';
}
