import { bytesEqual, hasMagic, isZero, viewOf } from '../../bytes/fields.ts';
import { toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { crc32 } from '../../io/node-crc32.ts';
import { BLOCK_COUNT_MAX, DICTIONARY_BYTES_MAX } from '../limits.ts';

// The .xz file format, version 1.0.4 (tukaani.org); section numbers in comments are its own.

const XZ_MAGIC = '\xfd7zXZ\0';
export const STREAM_HEADER_BYTES = 12;
export const STREAM_FOOTER_BYTES = 12;

/** What is computed over the data of a block. */
export type XzCheck = 'none' | 'crc32' | 'crc64' | 'sha256';

/** 2.1.1.2: the length of every check, also of those that have no name. */
const checks: Readonly<Record<number, XzCheck>> = { 0: 'none', 1: 'crc32', 4: 'crc64', 10: 'sha256' };
const checkBytes: Readonly<Record<XzCheck, number>> = { none: 0, crc32: 4, crc64: 8, sha256: 32 };

export function checkLength(check: XzCheck): number {
  return checkBytes[check];
}

/** 2.1.1: gives the check that the stream's blocks have. */
export function parseStreamHeader(header: Uint8Array, offsetBytes: number): XzCheck {
  if (!hasMagic(header, XZ_MAGIC)) throw malformed('stream header', 'it has no mark', offsetBytes);
  requireCrc(header.subarray(6, 8), header.subarray(8, 12), 'stream header', offsetBytes);
  return parseFlags(header.subarray(6, 8), offsetBytes);
}

function parseFlags(flags: Uint8Array, offsetBytes: number): XzCheck {
  const check = flags[0] === 0 ? checks[flags[1] ?? 0xff] : undefined;
  if (check !== undefined) return check;
  throw new ImageError('IMAGE_UNSUPPORTED', 'the xz file has a kind of check that is not known', {
    structure: 'xz stream flags',
    offsetBytes,
    hint: 'decompress it first, with xz -d',
  });
}

export interface StreamFooter {
  readonly check: XzCheck;
  readonly indexBytes: number;
}

/** 2.1.2. */
export function parseStreamFooter(footer: Uint8Array, offsetBytes: number): StreamFooter {
  if (!hasMagic(footer, 'YZ', 10)) throw malformed('stream footer', 'it has no mark', offsetBytes);
  requireCrc(footer.subarray(4, 10), footer.subarray(0, 4), 'stream footer', offsetBytes);
  const indexBytes = (viewOf(footer).getUint32(4, true) + 1) * 4;
  return { check: parseFlags(footer.subarray(8, 10), offsetBytes), indexBytes };
}

export interface BlockHeader {
  readonly dictionaryBytes: number;
  /** Of the packed data alone. */
  readonly packedBytes?: number;
  readonly lengthBytes?: number;
}

const LZMA2 = 0x21n;
const filterNames: Readonly<Record<string, string>> = {
  3: 'delta',
  4: 'x86',
  5: 'PowerPC',
  6: 'IA-64',
  7: 'ARM',
  8: 'ARM Thumb',
  9: 'SPARC',
  10: 'ARM64',
  11: 'RISC-V',
};

/** 3.1: a whole header, its CRC included. */
export function parseBlockHeader(header: Uint8Array, offsetBytes: number): BlockHeader {
  const refuse = (what: string) => malformed('block header', what, offsetBytes);
  requireCrc(header.subarray(0, -4), header.subarray(-4), 'block header', offsetBytes);
  const flags = header[1] as number;
  if ((flags & 0x3c) !== 0) throw refuse('it has flags that are not known');
  const fields = new VliReader(header.subarray(2, -4), offsetBytes);
  const packedBytes = (flags & 0x40) === 0 ? undefined : fields.size('compressed size');
  const lengthBytes = (flags & 0x80) === 0 ? undefined : fields.size('uncompressed size');
  if (packedBytes === 0) throw refuse('its data has no length');
  const filterCount = (flags & 3) + 1;
  const filter = fields.next();
  if (filter !== LZMA2 || filterCount > 1) throw unsupportedFilter(filter, offsetBytes);
  const dictionary = fields.next() === 1n ? fields.byte() : undefined;
  if (dictionary === undefined || dictionary > 40) throw refuse('its filter has wrong properties');
  if (!isZero(fields.rest)) throw refuse('its padding is not zero');
  return {
    dictionaryBytes: dictionaryLength(dictionary, offsetBytes),
    ...(packedBytes !== undefined && { packedBytes }),
    ...(lengthBytes !== undefined && { lengthBytes }),
  };
}

/** 5.3.1. */
function dictionaryLength(bits: number, offsetBytes: number): number {
  const lengthBytes = bits === 40 ? 2 ** 32 : (2 + (bits % 2)) * 2 ** (Math.floor(bits / 2) + 11);
  if (lengthBytes <= DICTIONARY_BYTES_MAX) return lengthBytes;
  throw new ImageError(
    'IMAGE_LIMIT',
    `the xz file needs a dictionary of ${lengthBytes} bytes: 128 MiB is the most`,
    {
      structure: 'xz block header',
      offsetBytes,
      hint: 'decompress it first, with xz -d',
    },
  );
}

function unsupportedFilter(filter: bigint, offsetBytes: number): ImageError {
  const name = filter === LZMA2 ? 'several' : (filterNames[String(filter)] ?? `number ${filter}`);
  return new ImageError('IMAGE_UNSUPPORTED', `the xz file uses filters beside LZMA2: ${name}`, {
    structure: 'xz block header',
    offsetBytes,
    hint: 'decompress it first, with xz -d',
  });
}

/** What the index says of a block. */
export interface IndexRecord {
  /** Header, packed data and check, without the padding. */
  readonly unpaddedBytes: number;
  readonly lengthBytes: number;
}

/** 4: a whole index, its CRC included. */
export function parseIndex(index: Uint8Array, offsetBytes: number): IndexRecord[] {
  requireCrc(index.subarray(0, -4), index.subarray(-4), 'index', offsetBytes);
  if (index[0] !== 0) throw malformed('index', 'it has no indicator', offsetBytes);
  const fields = new VliReader(index.subarray(1, -4), offsetBytes);
  const count = toSafeInteger(fields.next(), { structure: 'xz index', offsetBytes });
  // A record has two bytes at least: a count that the index cannot hold takes no memory.
  if (count > BLOCK_COUNT_MAX || 2 * count > index.length) throw tooManyBlocks(offsetBytes);
  const records: IndexRecord[] = [];
  for (let i = 0; i < count; i++) {
    const unpaddedBytes = fields.size('unpadded size');
    if (unpaddedBytes < 5) throw malformed('index', 'a block is shorter than any', offsetBytes);
    records.push({ unpaddedBytes, lengthBytes: fields.size('uncompressed size') });
  }
  if (fields.rest.length > 3 || !isZero(fields.rest))
    throw malformed('index', 'its padding is wrong', offsetBytes);
  return records;
}

export function tooManyBlocks(offsetBytes: number): ImageError {
  return new ImageError('IMAGE_LIMIT', 'the xz file has more streams or blocks than any program makes', {
    structure: 'xz index',
    offsetBytes,
    hint: 'decompress it first, with xz -d',
  });
}

/** 1.2: numbers of up to nine bytes, seven bits each, the least significant first. */
class VliReader {
  readonly #bytes: Uint8Array;
  readonly #offsetBytes: number;
  #at = 0;

  constructor(bytes: Uint8Array, offsetBytes: number) {
    this.#bytes = bytes;
    this.#offsetBytes = offsetBytes;
  }

  get rest(): Uint8Array {
    return this.#bytes.subarray(this.#at);
  }

  byte(): number {
    const byte = this.#bytes[this.#at++];
    if (byte !== undefined) return byte;
    throw malformed('number', 'it is cut', this.#offsetBytes);
  }

  next(): bigint {
    let value = 0n;
    for (let i = 0n; i < 9n; i++) {
      const byte = this.byte();
      value += BigInt(byte & 0x7f) << (7n * i);
      if (byte < 0x80) {
        // A byte of zeros at the end is the longer form of a number.
        if (byte === 0 && i > 0n) break;
        return value;
      }
    }
    throw malformed('number', 'it is not encoded as it should be', this.#offsetBytes);
  }

  size(what: string): number {
    return toSafeInteger(this.next(), { structure: `xz ${what}`, offsetBytes: this.#offsetBytes });
  }
}

function requireCrc(bytes: Uint8Array, stored: Uint8Array, structure: string, offsetBytes: number): void {
  const computed = new Uint8Array(4);
  viewOf(computed).setUint32(0, crc32(bytes), true);
  if (!bytesEqual(computed, stored)) throw malformed(structure, 'its CRC32 is wrong', offsetBytes);
}

export function malformed(structure: string, what: string, offsetBytes: number): ImageError {
  return new ImageError('IMAGE_MALFORMED', `the xz ${structure} is damaged: ${what}`, {
    structure: `xz ${structure}`,
    offsetBytes,
  });
}
