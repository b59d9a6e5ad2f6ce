import { Fields, malformed } from '../fields.ts';
import type { ChunkReader } from './chunk-reader.ts';

export const LZ4_LEGACY_MAGIC = '\x02\x21\x4c\x18';
/** lz4_Frame_format.md, "Legacy frame": each block gives up to 8 MiB. */
const BLOCK_BYTES: number = 8 * 1024 * 1024;
/** LZ4_COMPRESSBOUND of a block. */
const PACKED_BYTES_MAX: number = BLOCK_BYTES + Math.floor(BLOCK_BYTES / 255) + 16;

/** Unpacks a legacy LZ4 frame, as `lz4 -l` writes it for kernels. Throws IMAGE_MALFORMED. */
export async function* unpackLz4(reader: ChunkReader): AsyncGenerator<Uint8Array, void, undefined> {
  await reader.skip(4);
  for (;;) {
    const head = await reader.take(4);
    if (head === undefined) return;
    const packedBytes = new Fields(head, 'LZ4 block').u32(0);
    // Padding, or a frame behind this one.
    if (packedBytes === 0 || packedBytes > PACKED_BYTES_MAX) return;
    const packed = await reader.take(packedBytes);
    if (packed === undefined) throw malformed('LZ4 block', 'it ends in its middle');
    yield lz4Block(packed);
  }
}

/** lz4_Block_format.md: literals, then a match behind them, until the block ends with literals. */
function lz4Block(packed: Uint8Array): Uint8Array {
  const input = new Fields(packed, 'LZ4 block');
  const output = new Uint8Array(BLOCK_BYTES);
  let at = 0;
  let end = 0;
  const length = (nibble: number): number => {
    let total = nibble;
    if (nibble < 15) return total;
    for (;;) {
      const byte = input.u8(at++);
      total += byte;
      if (byte < 255) return total;
    }
  };
  while (at < packed.length) {
    const token = input.u8(at++);
    const literals = length(token >> 4);
    if (end + literals > BLOCK_BYTES) throw input.malformed('it gives more than 8 MiB');
    output.set(input.part(at, literals), end);
    at += literals;
    end += literals;
    if (at === packed.length) break;
    const distance = input.u16(at);
    at += 2;
    const matched = length(token & 15) + 4;
    if (distance === 0 || distance > end) throw input.malformed('a match lies before its start');
    if (end + matched > BLOCK_BYTES) throw input.malformed('it gives more than 8 MiB');
    for (let i = 0; i < matched; i++) output[end + i] = output[end + i - distance] ?? 0;
    end += matched;
  }
  return output.subarray(0, end);
}
