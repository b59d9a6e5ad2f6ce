import { Crc64 } from '../../bytes/crc64.ts';
import { bytesEqual, isZero, viewOf } from '../../bytes/fields.ts';
import { roundUp } from '../../bytes/numbers.ts';
import { crc32 } from '../../io/node-crc32.ts';
import { type IncrementalHash, incrementalHash } from '../../io/node-hash.ts';
import { ByteReader } from '../byte-reader.ts';
import { BLOCK_COUNT_MAX, INDEX_BYTES_MAX, STREAM_COUNT_MAX } from '../limits.ts';
import {
  checkLength,
  type IndexRecord,
  malformed,
  parseBlockHeader,
  parseIndex,
  parseStreamFooter,
  parseStreamHeader,
  STREAM_FOOTER_BYTES,
  STREAM_HEADER_BYTES,
  tooManyBlocks,
  type XzCheck,
} from './container.ts';
import { Lzma2Decoder } from './lzma2.ts';

/** Unpacks an xz file as it arrives: every stream of it, every check verified. Chunks stay the caller's. */
export async function* decodeXz(
  input: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new ByteReader(input, 'the xz file');
  const decoder = new Lzma2Decoder();
  try {
    let headerByte = await reader.byte();
    let streamCount = 0;
    do {
      if (++streamCount > STREAM_COUNT_MAX) throw tooManyBlocks(reader.takenBytes);
      const start = new Uint8Array(STREAM_HEADER_BYTES);
      start[0] = headerByte;
      start.set(await reader.take(STREAM_HEADER_BYTES - 1), 1);
      yield* decodeStream(reader, decoder, parseStreamHeader(start, reader.takenBytes - STREAM_HEADER_BYTES));
      headerByte = await skipPadding(reader);
    } while (headerByte >= 0);
  } finally {
    await reader.close();
  }
}

/** A block, by its place in the file. */
export interface XzBlock extends IndexRecord {
  readonly check: XzCheck;
}

/** Unpacks the block that the input begins with, which the index knows. */
export async function* decodeXzBlock(
  input: AsyncIterable<Uint8Array>,
  block: XzBlock,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new ByteReader(input, 'the xz file');
  try {
    const size = await reader.byte();
    if (size === 0) throw malformed('index', 'it names a block that is not there', 0);
    const found = yield* decodeBlock(reader, new Lzma2Decoder(), block.check, size);
    if (found.unpaddedBytes === block.unpaddedBytes && found.lengthBytes === block.lengthBytes) return;
    throw malformed('index', 'it does not say what the blocks are', 0);
  } finally {
    await reader.close();
  }
}

/** 2.1: blocks, index and footer; the header is read. */
async function* decodeStream(
  reader: ByteReader,
  decoder: Lzma2Decoder,
  check: XzCheck,
): AsyncGenerator<Uint8Array, void, undefined> {
  const blocks: IndexRecord[] = [];
  let size = await reader.byte();
  for (; size !== 0; size = await reader.byte()) {
    if (blocks.length === BLOCK_COUNT_MAX) throw tooManyBlocks(reader.takenBytes);
    blocks.push(yield* decodeBlock(reader, decoder, check, size));
  }
  const indexAt = reader.takenBytes - 1;
  const index = await takeIndex(reader, blocks.length);
  const records = parseIndex(index, indexAt);
  const footer = parseStreamFooter((await reader.take(STREAM_FOOTER_BYTES)).slice(), indexAt + index.length);
  if (footer.indexBytes !== index.length || footer.check !== check || !sameRecords(records, blocks)) {
    throw malformed('index', 'it does not say what the blocks are', indexAt);
  }
}

function sameRecords(a: readonly IndexRecord[], b: readonly IndexRecord[]): boolean {
  if (a.length !== b.length) return false;
  return a.every(
    ({ unpaddedBytes, lengthBytes }, i) =>
      unpaddedBytes === b[i]?.unpaddedBytes && lengthBytes === b[i]?.lengthBytes,
  );
}

/** The index behind its indicator: its length is known when all its numbers are. */
async function takeIndex(reader: ByteReader, blockCount: number): Promise<Uint8Array> {
  const bytes: number[] = [0];
  const at = reader.takenBytes;
  for (let number = 0; number < 1 + 2 * blockCount; number++) {
    for (let byte = 0x80; byte >= 0x80; bytes.push(byte)) {
      if (bytes.length > INDEX_BYTES_MAX) throw malformed('index', 'it is too long', at);
      byte = await reader.byte();
    }
  }
  const paddedBytes = roundUp(bytes.length, 4);
  const rest = await reader.take(paddedBytes - bytes.length + 4);
  return Uint8Array.from([...bytes, ...rest]);
}

/** 3: one block, its header's first byte taken. Gives what the index has to say of it. */
async function* decodeBlock(
  reader: ByteReader,
  decoder: Lzma2Decoder,
  check: XzCheck,
  size: number,
): AsyncGenerator<Uint8Array, IndexRecord, undefined> {
  const startBytes = reader.takenBytes - 1;
  const headerBytes = (size + 1) * 4;
  const header = new Uint8Array(headerBytes);
  header[0] = size;
  header.set(await reader.take(headerBytes - 1), 1);
  const stated = parseBlockHeader(header, startBytes);
  const dataAt = reader.takenBytes;
  const hash = checkHash(check);
  let lengthBytes = 0;
  for await (const bytes of decoder.decode(reader, stated.dictionaryBytes)) {
    lengthBytes += bytes.length;
    hash?.update(bytes);
    yield bytes.slice();
  }
  const packedBytes = reader.takenBytes - dataAt;
  const differs =
    packedBytes !== (stated.packedBytes ?? packedBytes) ||
    lengthBytes !== (stated.lengthBytes ?? lengthBytes);
  if (differs) throw malformed('block', 'its header gives other lengths', startBytes);
  if (!isZero(await reader.take(roundUp(packedBytes, 4) - packedBytes))) {
    throw malformed('block', 'its padding is not zero', startBytes);
  }
  const stored = await reader.take(checkLength(check));
  if (hash !== undefined && !bytesEqual(hash.digest(), stored.slice())) {
    throw malformed('block', `its ${check.toUpperCase()} is wrong`, startBytes);
  }
  return { unpaddedBytes: headerBytes + packedBytes + checkLength(check), lengthBytes };
}

function checkHash(check: XzCheck): IncrementalHash | undefined {
  if (check === 'none') return undefined;
  if (check === 'sha256') return incrementalHash('sha256');
  if (check === 'crc64') return new Crc64();
  let crc = 0;
  return {
    update(bytes) {
      crc = crc32(bytes, crc);
    },
    digest() {
      const bytes = new Uint8Array(4);
      viewOf(bytes).setUint32(0, crc, true);
      return bytes;
    },
  };
}

/** 2.2: zeros in fours between streams. Gives the first byte of the next stream, -1 at the end of the file. */
async function skipPadding(reader: ByteReader): Promise<number> {
  for (let count = 0; ; count++) {
    if (await reader.atEnd()) {
      if (count % 4 !== 0) throw malformed('stream padding', 'it has a wrong length', reader.takenBytes);
      return -1;
    }
    const byte = await reader.byte();
    if (byte === 0) continue;
    if (count % 4 !== 0) throw malformed('stream padding', 'it has a wrong length', reader.takenBytes);
    return byte;
  }
}
