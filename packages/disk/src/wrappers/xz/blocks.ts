import { roundUp } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { byteChunks } from '../../io/byte-chunks.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { BLOCK_COUNT_MAX, INDEX_BYTES_MAX, STREAM_COUNT_MAX } from '../limits.ts';
import type { UnpackEntry } from '../unpacked-source.ts';
import {
  malformed,
  parseIndex,
  parseStreamFooter,
  parseStreamHeader,
  STREAM_FOOTER_BYTES,
  STREAM_HEADER_BYTES,
  tooManyBlocks,
} from './container.ts';
import { decodeXzBlock, type XzBlock } from './decode.ts';

interface PlacedBlock extends XzBlock {
  readonly offsetBytes: number;
}

/**
 * The blocks of an xz file, from the indices at the end of each of its streams, read from the back (the format's
 * section 2.1.2). Reading can begin at each of them. Throws ImageError.
 */
export async function xzBlocks(
  source: ByteSource,
  signal?: AbortSignal,
): Promise<{ lengthBytes: number; list: UnpackEntry[] }> {
  // Of streams and of blocks within them, the last first.
  const streams: PlacedBlock[][] = [];
  let count = 0;
  let streamCount = 0;
  for (let end = await withoutPadding(source, source.lengthBytes, signal); end > 0; ) {
    const { startBytes, blocks } = await streamBefore(source, end, signal);
    streams.push(blocks);
    count += blocks.length;
    if (count > BLOCK_COUNT_MAX || ++streamCount > STREAM_COUNT_MAX) throw tooManyBlocks(end);
    end = await withoutPadding(source, startBytes, signal);
  }
  if (streams.length === 0) throw truncated(source, 0);
  const blocks = streams.reverse().flat();
  const list: UnpackEntry[] = [];
  let lengthBytes = 0;
  for (const [index, block] of blocks.entries()) {
    const start = (later?: AbortSignal) => unpackFrom(source, blocks, index, later);
    // Blocks without content are passed, not begun at.
    if (block.lengthBytes > 0) list.push({ outputBytes: lengthBytes, start });
    lengthBytes += block.lengthBytes;
    if (!Number.isSafeInteger(lengthBytes)) throw malformed('index', 'its sizes are above all measure', 0);
  }
  return { lengthBytes, list };
}

/** Where the stream ends that padding, zeros in fours, follows up to `end`. */
async function withoutPadding(source: ByteSource, end: number, signal?: AbortSignal): Promise<number> {
  let at = end;
  while (at > 0) {
    const lengthBytes = Math.min(4096, at);
    const bytes = await readStructure(source, at - lengthBytes, lengthBytes, 'xz stream padding', signal);
    let zeros = 0;
    while (zeros < lengthBytes && bytes[lengthBytes - 1 - zeros] === 0) zeros++;
    // The mark at the end of a stream has no zeros.
    at -= zeros;
    if (zeros < lengthBytes) break;
  }
  if ((end - at) % 4 !== 0) throw malformed('stream padding', 'it has a wrong length', at);
  return at;
}

async function streamBefore(
  source: ByteSource,
  end: number,
  signal?: AbortSignal,
): Promise<{ startBytes: number; blocks: PlacedBlock[] }> {
  const footerAt = end - STREAM_FOOTER_BYTES;
  if (footerAt < STREAM_HEADER_BYTES) throw truncated(source, end);
  const footer = await readStructure(source, footerAt, STREAM_FOOTER_BYTES, 'xz stream footer', signal);
  const { check, indexBytes } = footerOrTruncated(footer, footerAt, source);
  if (indexBytes > INDEX_BYTES_MAX) throw tooManyBlocks(footerAt);
  const indexAt = footerAt - indexBytes;
  if (indexAt < STREAM_HEADER_BYTES)
    throw malformed('stream footer', 'its index begins before the file', footerAt);
  const records = parseIndex(await readStructure(source, indexAt, indexBytes, 'xz index', signal), indexAt);
  const blocksBytes = records.reduce((sum, { unpaddedBytes }) => sum + roundUp(unpaddedBytes, 4), 0);
  const startBytes = indexAt - blocksBytes - STREAM_HEADER_BYTES;
  if (startBytes < 0) throw malformed('index', 'its blocks begin before the file', indexAt);
  const header = await readStructure(source, startBytes, STREAM_HEADER_BYTES, 'xz stream header', signal);
  if (parseStreamHeader(header, startBytes) !== check) {
    throw malformed('stream footer', 'its flags are not those of the header', footerAt);
  }
  let offsetBytes = startBytes + STREAM_HEADER_BYTES;
  const blocks = records.map((record) => {
    const block = { ...record, check, offsetBytes };
    offsetBytes += roundUp(record.unpaddedBytes, 4);
    return block;
  });
  return { startBytes, blocks };
}

/** A file that is cut has anything at its end. */
function footerOrTruncated(
  footer: Uint8Array,
  footerAt: number,
  source: ByteSource,
): ReturnType<typeof parseStreamFooter> {
  if (footer[10] !== 0x59 || footer[11] !== 0x5a) throw truncated(source, footerAt + STREAM_FOOTER_BYTES);
  return parseStreamFooter(footer, footerAt);
}

function truncated(source: ByteSource, offsetBytes: number): ImageError {
  return new ImageError('IMAGE_TRUNCATED', `${source.name} does not end as an xz file does`, {
    structure: 'xz stream footer',
    offsetBytes,
  });
}

async function* unpackFrom(
  source: ByteSource,
  blocks: readonly PlacedBlock[],
  first: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let index = first; index < blocks.length; index++) {
    const block = blocks[index] as PlacedBlock;
    yield* decodeXzBlock(byteChunks(source, block.offsetBytes, signal), block);
  }
}
