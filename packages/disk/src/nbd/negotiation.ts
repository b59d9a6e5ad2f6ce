import { utf8Bytes, utf8Text, viewOf } from '../bytes/fields.ts';
import { type ByteChannel, fill, skip } from '../io/byte-channel.ts';
import { exportFlags, MINIMUM_BLOCK_BYTES, type NbdExport, PREFERRED_BLOCK_BYTES } from './export.ts';
import { OPTION_BYTES_MAX, OPTION_COUNT_MAX, PAYLOAD_BYTES_MAX, STRING_BYTES_MAX } from './limits.ts';
import {
  BASE_ALLOCATION,
  HANDSHAKE,
  IHAVEOPT,
  INFO,
  joined,
  NBDMAGIC,
  OPTION,
  OPTION_HEADER_BYTES,
  optionReplyBytes,
  REPLY,
  uint16,
  uint32,
  uint64,
} from './protocol.ts';

/** What was agreed on with a client. */
export interface Session {
  readonly export: NbdExport;
  readonly hasStructuredReplies: boolean;
  /** The client chose base:allocation for this export. */
  readonly hasAllocation: boolean;
}

/** The only metadata context of this server has this id. */
export const ALLOCATION_ID = 1;

/**
 * The server's side of the fixed newstyle handshake (protocol, "Handshake"). Undefined when the client leaves or breaks
 * the rules: the connection is to be ended then. Only a client whose option cannot be answered gets no word.
 */
export async function negotiate(
  channel: ByteChannel,
  exports: readonly NbdExport[],
): Promise<Session | undefined> {
  const flags = HANDSHAKE.fixedNewstyle + HANDSHAKE.noZeroes;
  await channel.send([bigUint64(NBDMAGIC), bigUint64(IHAVEOPT), uint16(flags)]);
  const clientFlags = new Uint8Array(4);
  if (!(await fill(channel, clientFlags))) return undefined;
  const given = viewOf(clientFlags).getUint32(0);
  // "The server MUST drop the TCP connection if the client sets an unknown flag".
  if (given > flags) return undefined;
  return new Negotiation(channel, exports, given >= HANDSHAKE.noZeroes).run();
}

class Negotiation {
  readonly #channel: ByteChannel;
  readonly #exports: readonly NbdExport[];
  readonly #isWithoutZeroes: boolean;
  #hasStructuredReplies = false;
  /** The export for which base:allocation was chosen last. */
  #allocationOf: NbdExport | undefined;

  constructor(channel: ByteChannel, exports: readonly NbdExport[], isWithoutZeroes: boolean) {
    this.#channel = channel;
    this.#exports = exports;
    this.#isWithoutZeroes = isWithoutZeroes;
  }

  async run(): Promise<Session | undefined> {
    const header = new Uint8Array(OPTION_HEADER_BYTES);
    for (let count = 0; count < OPTION_COUNT_MAX; count++) {
      if (!(await fill(this.#channel, header))) return undefined;
      const view = viewOf(header);
      if (view.getBigUint64(0) !== IHAVEOPT) return undefined;
      const option = view.getUint32(8);
      const lengthBytes = view.getUint32(12);
      if (lengthBytes > OPTION_BYTES_MAX) {
        // No client needs that much; a name that long cannot be answered at all.
        if (option === OPTION.exportName || lengthBytes > PAYLOAD_BYTES_MAX) return undefined;
        await skip(this.#channel, lengthBytes);
        await this.#reply(option, REPLY.errTooBig, 'the option is too long');
        continue;
      }
      const data = new Uint8Array(lengthBytes);
      if (lengthBytes > 0 && !(await fill(this.#channel, data))) return undefined;
      const session = await this.#answer(option, data);
      if (session === 'end') return undefined;
      if (session !== undefined) return session;
    }
    return undefined;
  }

  async #answer(option: number, data: Uint8Array): Promise<Session | 'end' | undefined> {
    switch (option) {
      case OPTION.exportName:
        return this.#exportName(data);
      case OPTION.abort:
        await this.#reply(option, REPLY.ack);
        return 'end';
      case OPTION.list:
        return this.#list(data);
      case OPTION.info:
      case OPTION.go:
        return this.#info(option, data);
      case OPTION.structuredReply:
        if (data.length > 0) return this.#reply(option, REPLY.errInvalid, 'the option has no data');
        this.#hasStructuredReplies = true;
        return this.#reply(option, REPLY.ack);
      case OPTION.listMetaContext:
      case OPTION.setMetaContext:
        return this.#metaContexts(option, data);
      case OPTION.startTls:
        return this.#reply(option, REPLY.errPolicy, 'this server does not speak TLS');
      default:
        return this.#reply(option, REPLY.errUnsupported, 'the option is not known');
    }
  }

  async #exportName(data: Uint8Array): Promise<Session | 'end'> {
    const found = this.#named(utf8Text(data));
    if (found === undefined) return 'end';
    const zeroes = this.#isWithoutZeroes ? 0 : 124;
    const size = uint64(found.disk.virtualSizeBytes);
    const flags = uint16(exportFlags(found, this.#hasStructuredReplies));
    await this.#channel.send([size, flags, new Uint8Array(zeroes)]);
    return this.#session(found);
  }

  async #list(data: Uint8Array): Promise<undefined> {
    if (data.length > 0) return this.#reply(OPTION.list, REPLY.errInvalid, 'the option has no data');
    for (const { name, description = '' } of this.#exports) {
      const bytes = utf8Bytes(name);
      await this.#reply(
        OPTION.list,
        REPLY.server,
        joined(uint32(bytes.length), bytes, utf8Bytes(description)),
      );
    }
    return this.#reply(OPTION.list, REPLY.ack);
  }

  async #info(option: number, data: Uint8Array): Promise<Session | undefined> {
    const view = viewOf(data);
    const nameBytes = data.length >= 6 ? view.getUint32(0) : 0;
    const isWhole = data.length >= 6 && nameBytes <= data.length - 6;
    const count = isWhole ? view.getUint16(4 + nameBytes) : 0;
    if (!isWhole || nameBytes > STRING_BYTES_MAX || data.length !== 6 + nameBytes + count * 2) {
      return this.#reply(option, REPLY.errInvalid, 'the lengths in the option do not fit');
    }
    const found = this.#named(utf8Text(data.subarray(4, 4 + nameBytes)));
    if (found === undefined) return this.#reply(option, REPLY.errUnknown, 'there is no such export');
    const wanted = new Set(Array.from({ length: count }, (_, i) => view.getUint16(6 + nameBytes + i * 2)));
    const { name, description, disk } = found;
    const flags = exportFlags(found, this.#hasStructuredReplies);
    await this.#reply(
      option,
      REPLY.info,
      joined(uint16(INFO.export), uint64(disk.virtualSizeBytes), uint16(flags)),
    );
    if (wanted.has(INFO.name))
      await this.#reply(option, REPLY.info, joined(uint16(INFO.name), utf8Bytes(name)));
    if (wanted.has(INFO.description) && description !== undefined) {
      await this.#reply(option, REPLY.info, joined(uint16(INFO.description), utf8Bytes(description)));
    }
    const sizes = [MINIMUM_BLOCK_BYTES, PREFERRED_BLOCK_BYTES, PAYLOAD_BYTES_MAX].map(uint32);
    await this.#reply(option, REPLY.info, joined(uint16(INFO.blockSize), ...sizes));
    await this.#reply(option, REPLY.ack);
    return option === OPTION.go ? this.#session(found) : undefined;
  }

  async #metaContexts(option: number, data: Uint8Array): Promise<undefined> {
    const isSet = option === OPTION.setMetaContext;
    // "Issuing this command replaces all previously-set metadata contexts (including when this command fails)".
    if (isSet) this.#allocationOf = undefined;
    if (!this.#hasStructuredReplies) {
      return this.#reply(option, REPLY.errInvalid, 'structured replies come first');
    }
    const parsed = parseQueries(data);
    if (parsed === undefined) {
      return this.#reply(option, REPLY.errInvalid, 'the lengths in the option do not fit');
    }
    const found = this.#named(parsed.exportName);
    if (found === undefined) return this.#reply(option, REPLY.errUnknown, 'there is no such export');
    const { queries } = parsed;
    const isListed = !isSet && (queries.length === 0 || queries.includes('base:'));
    if (isListed || queries.includes(BASE_ALLOCATION)) {
      if (isSet) this.#allocationOf = found;
      const context = joined(uint32(isSet ? ALLOCATION_ID : 0), utf8Bytes(BASE_ALLOCATION));
      await this.#reply(option, REPLY.metaContext, context);
    }
    return this.#reply(option, REPLY.ack);
  }

  async #reply(option: number, type: number, data: Uint8Array | string = ''): Promise<undefined> {
    const bytes = typeof data === 'string' ? utf8Bytes(data) : data;
    await this.#channel.send([optionReplyBytes(option, type, bytes)]);
  }

  #named(name: string): NbdExport | undefined {
    return this.#exports.find((each) => each.name === name);
  }

  #session(found: NbdExport): Session {
    const hasStructuredReplies = this.#hasStructuredReplies;
    return { export: found, hasStructuredReplies, hasAllocation: this.#allocationOf === found };
  }
}

/** Undefined when a length does not fit. */
function parseQueries(
  data: Uint8Array,
): { readonly exportName: string; readonly queries: readonly string[] } | undefined {
  const view = viewOf(data);
  let at = 0;
  const number = () => {
    at += 4;
    return at <= data.length ? view.getUint32(at - 4) : undefined;
  };
  const text = () => {
    const lengthBytes = number();
    if (lengthBytes === undefined || lengthBytes > STRING_BYTES_MAX || lengthBytes > data.length - at) {
      return undefined;
    }
    at += lengthBytes;
    return utf8Text(data.subarray(at - lengthBytes, at));
  };
  const exportName = text();
  const count = exportName === undefined ? undefined : number();
  // Each query takes its length field at least.
  if (exportName === undefined || count === undefined || count > (data.length - at) / 4) return undefined;
  const queries: string[] = [];
  for (let i = 0; i < count; i++) {
    const query = text();
    if (query === undefined) return undefined;
    queries.push(query);
  }
  return at === data.length ? { exportName, queries } : undefined;
}

function bigUint64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  viewOf(bytes).setBigUint64(0, value);
  return bytes;
}
