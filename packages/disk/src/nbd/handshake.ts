import { utf8Bytes, utf8Text, viewOf } from '../bytes/fields.ts';
import { isPowerOfTwo } from '../bytes/numbers.ts';
import { StoreError, type StoreErrorCode } from '../errors.ts';
import { type ByteChannel, fill, skip } from '../io/byte-channel.ts';
import { MINIMUM_BLOCK_BYTES_MAX, OPTION_BYTES_MAX, OPTION_COUNT_MAX, PAYLOAD_BYTES_MAX } from './limits.ts';
import {
  BASE_ALLOCATION,
  HANDSHAKE,
  hasFlag,
  IHAVEOPT,
  INFO,
  isErrorReply,
  joined,
  NBDMAGIC,
  OPTION,
  OPTION_REPLY_HEADER_BYTES,
  OPTION_REPLY_MAGIC,
  optionBytes,
  REPLY,
  uint16,
  uint32,
} from './protocol.ts';

/** An export as its server describes it. */
export interface RemoteExport {
  readonly sizeBytes: number;
  /** NBD_FLAG_*. */
  readonly flags: number;
  readonly hasStructuredReplies: boolean;
  /** Id of base:allocation, when it was chosen. */
  readonly allocationId: number | undefined;
  /** Requests begin and end at multiples of this. */
  readonly minimumBlockBytes: number;
  readonly payloadBytesMax: number;
  readonly description: string | undefined;
}

/**
 * The client's side of the handshake: chooses an export, with structured replies and base:allocation where the server
 * has them. Throws StoreError: STORE_NOT_FOUND when there is no such export, STORE_DENIED when it may not be had.
 */
export function chooseExport(channel: ByteChannel, exportName: string): Promise<RemoteExport> {
  return new Handshake(channel, exportName).run();
}

interface OptionReply {
  readonly type: number;
  readonly data: Uint8Array;
}

class Handshake {
  readonly #channel: ByteChannel;
  readonly #exportName: string;
  #hasStructuredReplies = false;
  #allocationId: number | undefined;

  constructor(channel: ByteChannel, exportName: string) {
    this.#channel = channel;
    this.#exportName = exportName;
  }

  async run(): Promise<RemoteExport> {
    const greeting = viewOf(await this.#receive(16));
    if (greeting.getBigUint64(0) !== NBDMAGIC) throw this.#refused('the server does not speak NBD');
    if (greeting.getBigUint64(8) !== IHAVEOPT) {
      throw this.#refused('the server speaks only the old handshake of NBD', 'use a server of 2011 or later');
    }
    const flags = viewOf(await this.#receive(2)).getUint16(0);
    const isFixed = hasFlag(flags, HANDSHAKE.fixedNewstyle);
    const isWithoutZeroes = hasFlag(flags, HANDSHAKE.noZeroes);
    const answer = (isFixed ? HANDSHAKE.fixedNewstyle : 0) + (isWithoutZeroes ? HANDSHAKE.noZeroes : 0);
    await this.#channel.send([uint32(answer)]);
    if (!isFixed) return this.#byName(isWithoutZeroes);
    await this.#chooseReplies();
    return (await this.#go()) ?? this.#byName(isWithoutZeroes);
  }

  async #chooseReplies(): Promise<void> {
    const [reply] = await this.#ask(OPTION.structuredReply, new Uint8Array(0));
    this.#hasStructuredReplies = reply?.type === REPLY.ack;
    if (!this.#hasStructuredReplies) return;
    const query = utf8Bytes(BASE_ALLOCATION);
    const contexts = joined(this.#sizedName(), uint32(1), uint32(query.length), query);
    const replies = await this.#ask(OPTION.setMetaContext, contexts);
    if (replies.at(-1)?.type !== REPLY.ack) return;
    const found = replies.find(
      ({ type, data }) =>
        type === REPLY.metaContext && data.length >= 4 && utf8Text(data.subarray(4)) === BASE_ALLOCATION,
    );
    if (found !== undefined) this.#allocationId = viewOf(found.data).getUint32(0);
  }

  /** Undefined when the server does not know NBD_OPT_GO. */
  async #go(): Promise<RemoteExport | undefined> {
    const wanted = [INFO.blockSize, INFO.description];
    const replies = await this.#ask(
      OPTION.go,
      joined(this.#sizedName(), uint16(wanted.length), ...wanted.map(uint16)),
    );
    const last = replies.at(-1);
    if (last?.type === REPLY.errUnsupported) return undefined;
    if (last?.type !== REPLY.ack) throw this.#notGiven(last);
    const info = (kind: number, mostBytes: number) =>
      replies.find(
        ({ type, data }) =>
          type === REPLY.info && data.length >= mostBytes && viewOf(data).getUint16(0) === kind,
      )?.data;
    const facts = info(INFO.export, 12);
    if (facts === undefined) throw this.#refused('the server does not say how large the export is');
    const sizes = info(INFO.blockSize, 14);
    const description = info(INFO.description, 2);
    return this.#export(
      viewOf(facts),
      2,
      sizes && viewOf(sizes),
      description && utf8Text(description.subarray(2)),
    );
  }

  /** NBD_OPT_EXPORT_NAME: a server that does not have it ends the connection. */
  async #byName(isWithoutZeroes: boolean): Promise<RemoteExport> {
    await this.#channel.send([optionBytes(OPTION.exportName, utf8Bytes(this.#exportName))]);
    const facts = new Uint8Array(10);
    if (!(await fill(this.#channel, facts))) throw this.#notFound('the server ended the connection');
    if (!isWithoutZeroes) await skip(this.#channel, 124);
    return this.#export(viewOf(facts), 0, undefined, undefined);
  }

  #export(
    facts: DataView,
    at: number,
    sizes: DataView | undefined,
    description: string | undefined,
  ): RemoteExport {
    const size = facts.getBigUint64(at);
    if (size > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw this.#refused(`the export has ${size} bytes, which is above 2^53 - 1`);
    }
    const minimumBlockBytes = sizes?.getUint32(2) ?? 1;
    const payloadBytesMax = Math.min(sizes?.getUint32(10) ?? PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX);
    const isSane =
      isPowerOfTwo(minimumBlockBytes) &&
      minimumBlockBytes <= MINIMUM_BLOCK_BYTES_MAX &&
      payloadBytesMax >= minimumBlockBytes &&
      size % BigInt(minimumBlockBytes) === 0n;
    if (!isSane) throw this.#refused('the block sizes of the export contradict each other');
    return {
      sizeBytes: Number(size),
      flags: facts.getUint16(at + 8),
      hasStructuredReplies: this.#hasStructuredReplies,
      allocationId: this.#allocationId,
      minimumBlockBytes,
      payloadBytesMax,
      description,
    };
  }

  /** All replies to an option; the last is an acknowledgement or an error. */
  async #ask(option: number, data: Uint8Array): Promise<readonly OptionReply[]> {
    await this.#channel.send([optionBytes(option, data)]);
    const replies: OptionReply[] = [];
    while (replies.length < OPTION_COUNT_MAX) {
      const header = viewOf(await this.#receive(OPTION_REPLY_HEADER_BYTES));
      const lengthBytes = header.getUint32(16);
      const isReply = header.getBigUint64(0) === OPTION_REPLY_MAGIC && header.getUint32(8) === option;
      if (!isReply || lengthBytes > OPTION_BYTES_MAX) break;
      const type = header.getUint32(12);
      replies.push({ type, data: await this.#receive(lengthBytes) });
      if (type === REPLY.ack || isErrorReply(type)) return replies;
    }
    throw this.#refused('the server does not keep to the handshake of NBD');
  }

  async #receive(lengthBytes: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(lengthBytes);
    if (lengthBytes === 0 || (await fill(this.#channel, bytes))) return bytes;
    throw new StoreError('STORE_UNREACHABLE', `${this.#channel.name} ended the connection`, {
      where: this.#channel.name,
    });
  }

  #sizedName(): Uint8Array {
    const name = utf8Bytes(this.#exportName);
    return joined(uint32(name.length), name);
  }

  #notGiven(reply: OptionReply | undefined): StoreError {
    const text = utf8Text(reply?.data ?? new Uint8Array(0));
    const said = text === '' ? 'the server refuses the export' : `the server says ${JSON.stringify(text)}`;
    switch (reply?.type) {
      case REPLY.errUnknown:
        return this.#notFound(said);
      case REPLY.errTlsRequired:
        return this.#failure(
          'STORE_DENIED',
          'the server demands TLS',
          'lead the connection through a tunnel',
        );
      case REPLY.errPolicy:
        return this.#failure('STORE_DENIED', said);
      default:
        return this.#refused(said);
    }
  }

  #notFound(why: string): StoreError {
    const name =
      this.#exportName === '' ? 'no default export' : `no export ${JSON.stringify(this.#exportName)}`;
    return this.#failure('STORE_NOT_FOUND', `${name} (${why})`, 'nbdinfo --list shows what a server has');
  }

  #refused(message: string, hint?: string): StoreError {
    return this.#failure('STORE_REFUSED', message, hint);
  }

  #failure(code: StoreErrorCode, message: string, hint?: string): StoreError {
    const where = this.#channel.name;
    return new StoreError(code, `${where}: ${message}`, { where, hint });
  }
}
