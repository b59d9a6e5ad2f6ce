import { hash as cryptoHash } from 'node:crypto';
import { constants, crc32, type ZstdOptions, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

// Runs in the codec's threads too: it imports nothing but Node, so that a thread stays small.

/** Guest bytes of a piece: one zstd frame, and one cluster of a compressed qcow2. */
export const PIECE_BYTES: number = 64 * 1024;
export const PIECES_PER_BLOCK = 4;
/** Guest bytes of a block: the disk digest's leaf. */
export const BLOCK_BYTES: number = PIECE_BYTES * PIECES_PER_BLOCK;
export const HASH_BYTES = 32;

/**
 * A block as a segment holds it, integers little endian:
 *
 *   0   4  magic `GVB1`
 *   4  32  SHA-256 of the block's guest bytes
 *  36   8  per piece, 16 bits: stored length; 0 is a piece of zeros, 0xffff one stored as it is
 *  44  16  per piece, 32 bits: CRC-32 of the stored bytes; 0 for a piece of zeros
 *  60   4  CRC-32 of bytes 0 to 59
 *  64      the stored pieces, one after the other
 *
 * Bytes 36 to 59 are the piece table: the index keeps a copy. Its first 8 bytes are the length codes: a
 * manifest keeps a copy of these.
 */
export const RECORD_HEADER_BYTES = 64;
export const RECORD_LIMIT_BYTES: number = RECORD_HEADER_BYTES + BLOCK_BYTES;
export const PIECE_TABLE_BYTES = 24;
export const LENGTH_CODES_BYTES = 8;
const MAGIC = 0x31425647;
const HASH_OFFSET = 4;
const TABLE_OFFSET = 36;
const HEADER_CRC_OFFSET = 60;
const RAW_CODE = 0xffff;
/** Compression must save 1/32 of a piece, else the piece is kept as it is and costs nothing to read. */
const COMPRESSED_LIMIT_BYTES: number = PIECE_BYTES - PIECE_BYTES / 32;

const ZERO_PIECE: Uint8Array = new Uint8Array(PIECE_BYTES);

/** More than zstd makes of a piece at worst, so that the codec takes one buffer and fills it once. */
const OUTPUT_BYTES: number = PIECE_BYTES + 1024;

/** Level 1: docs/explanation/vault.md has the measurement. The frame tells its content's length. */
const COMPRESS: ZstdOptions = {
  chunkSize: OUTPUT_BYTES,
  pledgedSrcSize: PIECE_BYTES,
  params: { [constants.ZSTD_c_compressionLevel]: 1 },
};
const DECOMPRESS: ZstdOptions = { chunkSize: OUTPUT_BYTES, maxOutputLength: PIECE_BYTES };

/** Stored bytes of a piece, 0 to 65536, from its 16-bit length code. */
export function storedLengthOf(code: number): number {
  return code === RAW_CODE ? PIECE_BYTES : code;
}

/** The length code of a piece; `codes` is a piece table or the length codes alone. */
export function lengthCode(codes: Uint8Array, piece: number): number {
  return (codes[2 * piece] ?? 0) + 256 * (codes[2 * piece + 1] ?? 0);
}

/** Stored bytes of piece `piece`. */
export function storedLength(codes: Uint8Array, piece: number): number {
  return storedLengthOf(lengthCode(codes, piece));
}

/** Where the stored bytes of piece `piece` start, counted from the record's start. */
export function storedOffset(codes: Uint8Array, piece: number): number {
  let offset = RECORD_HEADER_BYTES;
  for (let i = 0; i < piece; i++) offset += storedLength(codes, i);
  return offset;
}

/** Bytes of the whole record. */
export function recordLength(codes: Uint8Array): number {
  return storedOffset(codes, PIECES_PER_BLOCK);
}

/** SHA-256 of a block's guest bytes, written where a record keeps it. */
export function hashBlock(plain: Uint8Array, record: Uint8Array): void {
  record.set(cryptoHash('sha256', plain, 'buffer'), HASH_OFFSET);
}

export function recordHash(record: Uint8Array): Uint8Array {
  return record.subarray(HASH_OFFSET, HASH_OFFSET + HASH_BYTES);
}

export function recordTable(record: Uint8Array): Uint8Array {
  return record.subarray(TABLE_OFFSET, TABLE_OFFSET + PIECE_TABLE_BYTES);
}

/** Makes the record of `plain`, whose hash stands in it already, and returns its length in bytes. */
export function packBlock(plain: Uint8Array, record: Uint8Array): number {
  const view = new DataView(record.buffer, record.byteOffset, RECORD_HEADER_BYTES);
  view.setUint32(0, MAGIC, true);
  let end = RECORD_HEADER_BYTES;
  for (let piece = 0; piece < PIECES_PER_BLOCK; piece++) {
    const length = storePiece(plain.subarray(piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES), record, end);
    const crc = length === 0 ? 0 : crc32(record.subarray(end, end + length));
    end += length;
    view.setUint16(TABLE_OFFSET + 2 * piece, length === PIECE_BYTES ? RAW_CODE : length, true);
    view.setUint32(TABLE_OFFSET + LENGTH_CODES_BYTES + 4 * piece, crc, true);
  }
  view.setUint32(HEADER_CRC_OFFSET, crc32(record.subarray(0, HEADER_CRC_OFFSET)), true);
  return end;
}

/** Stores a piece at `offset` of the record and returns its stored length. */
function storePiece(plain: Uint8Array, record: Uint8Array, offset: number): number {
  if (Buffer.compare(plain, ZERO_PIECE) === 0) return 0;
  const compressed = zstdCompressSync(plain, COMPRESS);
  const stored = compressed.length <= COMPRESSED_LIMIT_BYTES ? compressed : plain;
  record.set(stored, offset);
  const { length } = stored;
  freeOutput(compressed);
  return length;
}

/**
 * Gives the codec's output buffer back at once. The garbage collector would let some 60 MiB of them gather
 * in each thread first.
 */
export function freeOutput(output: Uint8Array): void {
  const { buffer } = output;
  if (buffer instanceof ArrayBuffer && buffer.byteLength === OUTPUT_BYTES) buffer.transfer(0);
}

/** What is wrong with the record's header, or undefined. `record` has at least the header. */
export function headerFault(record: Uint8Array): string | undefined {
  const view = new DataView(record.buffer, record.byteOffset, RECORD_HEADER_BYTES);
  if (view.getUint32(0, true) !== MAGIC) return 'there is no block record at this place';
  if (crc32(record.subarray(0, HEADER_CRC_OFFSET)) !== view.getUint32(HEADER_CRC_OFFSET, true)) {
    return 'the header of the record fails its CRC-32';
  }
  return undefined;
}

/** What is wrong with the stored bytes of a piece, or undefined. `record` is whole, its header checked. */
export function pieceFault(record: Uint8Array, piece: number): string | undefined {
  const stored = storedPiece(record, piece);
  if (stored.length === 0) return undefined;
  const view = new DataView(record.buffer, record.byteOffset, RECORD_HEADER_BYTES);
  const expected = view.getUint32(TABLE_OFFSET + LENGTH_CODES_BYTES + 4 * piece, true);
  return crc32(stored) === expected ? undefined : `piece ${piece} fails its CRC-32`;
}

/** The first fault of the header or of any piece, or undefined. `record` is as long as its table says. */
export function recordFault(record: Uint8Array): string | undefined {
  let fault = headerFault(record);
  for (let piece = 0; fault === undefined && piece < PIECES_PER_BLOCK; piece++) {
    fault = pieceFault(record, piece);
  }
  return fault;
}

/** The stored bytes of a piece, empty for a piece of zeros. */
export function storedPiece(record: Uint8Array, piece: number): Uint8Array {
  const table = recordTable(record);
  const offset = storedOffset(table, piece);
  return record.subarray(offset, offset + storedLength(table, piece));
}

/**
 * The guest bytes of a piece from its stored bytes, which may be returned as they are. Undefined when they
 * do not decompress to exactly one piece.
 */
export function plainPiece(stored: Uint8Array): Uint8Array | undefined {
  if (stored.length === 0) return new Uint8Array(PIECE_BYTES);
  if (stored.length === PIECE_BYTES) return stored;
  try {
    const plain = zstdDecompressSync(stored, DECOMPRESS);
    return plain.length === PIECE_BYTES ? plain : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Fills `plain` from a record, with every check there is: header, CRC-32 of each piece, SHA-256 of the whole.
 * Returns what is wrong, or undefined.
 */
export function unpackBlock(record: Uint8Array, plain: Uint8Array): string | undefined {
  const fault = recordFault(record);
  if (fault !== undefined) return fault;
  for (let piece = 0; piece < PIECES_PER_BLOCK; piece++) {
    const bytes = plainPiece(storedPiece(record, piece));
    if (bytes === undefined) return `piece ${piece} does not decompress`;
    plain.set(bytes, piece * PIECE_BYTES);
    freeOutput(bytes);
  }
  const hash: Uint8Array = cryptoHash('sha256', plain, 'buffer');
  return recordHash(record).every((byte, i) => byte === hash[i])
    ? undefined
    : 'its content does not have its SHA-256';
}
