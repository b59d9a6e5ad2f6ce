import { viewOf } from '../bytes/fields.ts';

// Names and values of doc/proto.md in https://github.com/NetworkBlockDevice/nbd; all fields are big-endian.

/** The IANA port of NBD. */
export const NBD_PORT = 10809;

export const NBDMAGIC = 0x4e42444d41474943n;
export const IHAVEOPT = 0x49484156454f5054n;
export const OPTION_REPLY_MAGIC = 0x3e889045565a9n;
export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;

/** NBD_FLAG_FIXED_NEWSTYLE and NBD_FLAG_NO_ZEROES; the client's flags have the same bits. */
export const HANDSHAKE = { fixedNewstyle: 1, noZeroes: 2 } as const;

/** NBD_FLAG_*, of an export. */
export const EXPORT_FLAG = {
  hasFlags: 1,
  readOnly: 2,
  sendFlush: 4,
  sendFua: 8,
  sendTrim: 32,
  sendWriteZeroes: 64,
  sendDf: 128,
  canMultiConn: 256,
  sendCache: 1024,
  sendFastZero: 2048,
} as const;

/** NBD_OPT_*. */
export const OPTION = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

/** NBD_REP_*; of errors, bit 31 is set. */
export const REPLY = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  errUnsupported: 0x80000001,
  errPolicy: 0x80000002,
  errInvalid: 0x80000003,
  errTlsRequired: 0x80000005,
  errUnknown: 0x80000006,
  errShutdown: 0x80000007,
  errTooBig: 0x80000009,
} as const;

export function isErrorReply(type: number): boolean {
  return type >= 2 ** 31;
}

/** NBD_INFO_*. */
export const INFO = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

/** NBD_CMD_*. */
export const COMMAND = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

/** NBD_CMD_FLAG_*. */
export const COMMAND_FLAG = { fua: 1, noHole: 2, df: 4, reqOne: 8, fastZero: 16 } as const;

/** NBD_REPLY_TYPE_*; of errors, bit 15 is set. */
export const CHUNK = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  error: 0x8001,
} as const;
export const CHUNK_DONE = 1;

/** NBD_STATE_* of the context base:allocation. */
export const STATE = { hole: 1, zero: 2 } as const;
export const BASE_ALLOCATION = 'base:allocation';

/** NBD_E*. */
export const ERRNO = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;
export type ErrnoName = keyof typeof ERRNO;

export const OPTION_HEADER_BYTES = 16;
export const OPTION_REPLY_HEADER_BYTES = 20;
export const REQUEST_BYTES = 28;
export const SIMPLE_REPLY_BYTES = 16;
export const STRUCTURED_REPLY_BYTES = 20;

/** A set of flags has this one. */
export function hasFlag(flags: number, flag: number): boolean {
  return Math.floor(flags / flag) % 2 === 1;
}

/** A request as it is sent. */
export interface Request {
  readonly flags: number;
  readonly type: number;
  readonly cookie: bigint;
  readonly offset: bigint;
  readonly lengthBytes: number;
}

export function requestBytes({ flags, type, cookie, offset, lengthBytes }: Request): Uint8Array {
  const bytes = new Uint8Array(REQUEST_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, REQUEST_MAGIC);
  view.setUint16(4, flags);
  view.setUint16(6, type);
  view.setBigUint64(8, cookie);
  view.setBigUint64(16, offset);
  view.setUint32(24, lengthBytes);
  return bytes;
}

/** Undefined when this is no request. */
export function parseRequest(bytes: Uint8Array): Request | undefined {
  const view = viewOf(bytes);
  if (view.getUint32(0) !== REQUEST_MAGIC) return undefined;
  return {
    flags: view.getUint16(4),
    type: view.getUint16(6),
    cookie: view.getBigUint64(8),
    offset: view.getBigUint64(16),
    lengthBytes: view.getUint32(24),
  };
}

export function optionBytes(option: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(OPTION_HEADER_BYTES + data.length);
  const view = viewOf(bytes);
  view.setBigUint64(0, IHAVEOPT);
  view.setUint32(8, option);
  view.setUint32(12, data.length);
  bytes.set(data, OPTION_HEADER_BYTES);
  return bytes;
}

export function optionReplyBytes(option: number, type: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(OPTION_REPLY_HEADER_BYTES + data.length);
  const view = viewOf(bytes);
  view.setBigUint64(0, OPTION_REPLY_MAGIC);
  view.setUint32(8, option);
  view.setUint32(12, type);
  view.setUint32(16, data.length);
  bytes.set(data, OPTION_REPLY_HEADER_BYTES);
  return bytes;
}

export function simpleReplyBytes(cookie: bigint, error: number): Uint8Array {
  const bytes = new Uint8Array(SIMPLE_REPLY_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, SIMPLE_REPLY_MAGIC);
  view.setUint32(4, error);
  view.setBigUint64(8, cookie);
  return bytes;
}

/**
 * The head of a chunk with `fixedBytes` of its payload left to be set, behind STRUCTURED_REPLY_BYTES; `restBytes` more
 * follow it.
 */
export function chunkBytes(
  cookie: bigint,
  type: number,
  isLast: boolean,
  fixedBytes: number,
  restBytes = 0,
): DataView {
  const view = new DataView(new ArrayBuffer(STRUCTURED_REPLY_BYTES + fixedBytes));
  view.setUint32(0, STRUCTURED_REPLY_MAGIC);
  view.setUint16(4, isLast ? CHUNK_DONE : 0);
  view.setUint16(6, type);
  view.setBigUint64(8, cookie);
  view.setUint32(16, fixedBytes + restBytes);
  return view;
}

/** Parts of messages, one after another. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

export function uint16(value: number): Uint8Array {
  const bytes = new Uint8Array(2);
  viewOf(bytes).setUint16(0, value);
  return bytes;
}

export function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setUint32(0, value);
  return bytes;
}

export function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  viewOf(bytes).setBigUint64(0, BigInt(value));
  return bytes;
}
