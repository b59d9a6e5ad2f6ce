import { viewOf } from '../bytes/fields.ts';
import { toSafeInteger } from '../bytes/numbers.ts';
import { ImageError } from '../errors.ts';
import { FRAME_COUNT_MAX } from './limits.ts';

// RFC 8878.

const FRAME_MAGIC = 0xfd2fb528;
/** Any of 0x184d2a50 to 0x184d2a5f: the last digit is the application's. */
const SKIPPABLE_MAGIC = 0x184d2a50;
/** No header is longer, and no read of a walk. */
export const FRAME_HEADER_BYTES_MAX = 18;
const RLE_BLOCK = 1;
const RESERVED_BLOCK = 3;

export interface ZstdFrame {
  readonly offsetBytes: number;
  /** Where the next frame begins. */
  readonly endBytes: number;
  /** What it unpacks to; absent where its header does not say. */
  readonly lengthBytes?: number;
}

/** What the walk wants: bytes of the file, as many as there are, answered by `next(bytes)`; or a frame it has seen. */
export type ZstdStep =
  | { readonly kind: 'read'; readonly offsetBytes: number; readonly lengthBytes: number }
  | { readonly kind: 'frame'; readonly frame: ZstdFrame };

/**
 * Walks frames and the headers of their blocks, front to back, decoding nothing. Ends where a frame could begin
 * and nothing stands. Throws ImageError for what is no frame, or a part of one.
 */
export function* walkZstd(): Generator<ZstdStep, void, Uint8Array> {
  let hasData = false;
  for (let at = 0, count = 0; ; count++) {
    if (count > FRAME_COUNT_MAX) throw tooManyFrames(at);
    const header = yield { kind: 'read', offsetBytes: at, lengthBytes: FRAME_HEADER_BYTES_MAX };
    if (header.length === 0 && hasData) return;
    if (header.length < 6) throw truncated(at);
    const magic = viewOf(header).getUint32(0, true);
    if (magic - (magic % 16) === SKIPPABLE_MAGIC) {
      if (header.length < 8) throw truncated(at);
      const endBytes = at + 8 + viewOf(header).getUint32(4, true);
      // Its last byte has to be there; one of no content is there already.
      if (endBytes > at + 8 && (yield lastByte(endBytes)).length === 0) throw truncated(at);
      at = endBytes;
      continue;
    }
    if (magic !== FRAME_MAGIC) throw malformed('something stands between frames that is none', at);
    const { headerBytes, hasChecksum, lengthBytes } = parseFrameHeader(header, at);
    let next = at + headerBytes;
    for (let isLast = false; !isLast; ) {
      const block = yield { kind: 'read', offsetBytes: next, lengthBytes: 3 };
      if (block.length < 3) throw truncated(next);
      const value = (block[0] as number) + (block[1] as number) * 256 + (block[2] as number) * 65536;
      isLast = value % 2 === 1;
      const type = Math.floor(value / 2) % 4;
      if (type === RESERVED_BLOCK) throw malformed('a block is of a reserved kind', next);
      next += 3 + (type === RLE_BLOCK ? 1 : Math.floor(value / 8));
    }
    next += hasChecksum ? 4 : 0;
    if ((yield lastByte(next)).length === 0) throw truncated(at);
    hasData = true;
    const frame = { offsetBytes: at, endBytes: next };
    yield { kind: 'frame', frame: lengthBytes === undefined ? frame : { ...frame, lengthBytes } };
    at = next;
  }
}

function lastByte(endBytes: number): ZstdStep {
  return { kind: 'read', offsetBytes: endBytes - 1, lengthBytes: 1 };
}

/** 3.1.1.1. */
function parseFrameHeader(
  header: Uint8Array,
  at: number,
): { headerBytes: number; lengthBytes: number | undefined; hasChecksum: boolean } {
  const view = viewOf(header);
  const descriptor = view.getUint8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  const sizeBytes = sizeFlag === 0 ? (isSingleSegment ? 1 : 0) : 2 ** sizeFlag;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const sizeAt = 5 + (isSingleSegment ? 0 : 1) + dictionaryBytes;
  const headerBytes = sizeAt + sizeBytes;
  if (header.length < headerBytes) throw truncated(at);
  return {
    headerBytes,
    lengthBytes: sizeBytes === 0 ? undefined : contentSize(view, sizeAt, sizeBytes, at),
    hasChecksum: (descriptor & 0x04) !== 0,
  };
}

function contentSize(view: DataView, at: number, sizeBytes: number, frameAt: number): number {
  if (sizeBytes === 1) return view.getUint8(at);
  if (sizeBytes === 2) return view.getUint16(at, true) + 256;
  if (sizeBytes === 4) return view.getUint32(at, true);
  return toSafeInteger(view.getBigUint64(at, true), { structure: 'zstd frame header', offsetBytes: frameAt });
}

function malformed(what: string, offsetBytes: number): ImageError {
  return new ImageError('IMAGE_MALFORMED', `the zstd file is damaged: ${what}`, {
    structure: 'zstd frame',
    offsetBytes,
  });
}

function truncated(offsetBytes: number): ImageError {
  return new ImageError('IMAGE_TRUNCATED', 'the zstd file ends in the middle of a frame', {
    structure: 'zstd frame',
    offsetBytes,
  });
}

function tooManyFrames(offsetBytes: number): ImageError {
  return new ImageError('IMAGE_LIMIT', `the zstd file has more than ${FRAME_COUNT_MAX} frames`, {
    structure: 'zstd frame',
    offsetBytes,
    hint: 'decompress it first, with zstd -d',
  });
}
