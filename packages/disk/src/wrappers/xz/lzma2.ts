import { MIB } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import type { ByteReader } from '../byte-reader.ts';
import { decodeLzmaChunk, newLzmaState, resetLzmaState } from './lzma-decoder.ts';

const STRUCTURE = 'xz LZMA2 data';
/** The most that one chunk unpacks to. */
const CHUNK_BYTES_MAX: number = 2 * MIB;
const FIRST_BUFFER_BYTES: number = 4 * MIB;

/**
 * Unpacks LZMA2 (as the xz file format 1.0.4, 5.3.1, and XZ Embedded describe it) into one buffer that holds the
 * dictionary and the newest output behind it. Used for one block after the other.
 */
export class Lzma2Decoder {
  readonly #lzma = newLzmaState();
  #buffer: Uint8Array = new Uint8Array(FIRST_BUFFER_BYTES);
  #at = 0;
  /** Bytes since the dictionary was reset. */
  #processedBytes = 0;

  /** Chunks of output, each valid until the next is asked for. Throws IMAGE_MALFORMED, IMAGE_TRUNCATED. */
  async *decode(reader: ByteReader, dictionaryBytes: number): AsyncGenerator<Uint8Array, void, undefined> {
    let needsDictionaryReset = true;
    let needsProperties = true;
    for (;;) {
      const control = await reader.byte();
      if (control === 0) return;
      const resetsDictionary = control === 1 || control >= 0xe0;
      if (resetsDictionary) {
        this.#processedBytes = 0;
        this.#at = 0;
        needsDictionaryReset = false;
        needsProperties = true;
      }
      if (needsDictionaryReset || (control > 2 && control < 0x80))
        throw malformed(reader, 'a control byte is wrong');
      if (control < 0x80) {
        const size = await reader.take(2);
        const lengthBytes = ((size[0] as number) << 8) + (size[1] as number) + 1;
        this.#reserve(lengthBytes, dictionaryBytes);
        this.#buffer.set(await reader.take(lengthBytes), this.#at);
        yield this.#advance(lengthBytes);
        continue;
      }
      const sizes = await reader.take(4);
      const lengthBytes = ((control & 0x1f) << 16) + ((sizes[0] as number) << 8) + (sizes[1] as number) + 1;
      const packedBytes = ((sizes[2] as number) << 8) + (sizes[3] as number) + 1;
      if (control >= 0xc0) {
        this.#setProperties(await reader.byte(), reader);
        needsProperties = false;
      } else if (needsProperties) throw malformed(reader, 'a chunk comes before its properties');
      if (control >= 0xa0) resetLzmaState(this.#lzma);
      this.#reserve(lengthBytes, dictionaryBytes);
      const decoded = decodeLzmaChunk(this.#lzma, await reader.take(packedBytes), {
        bytes: this.#buffer,
        from: this.#at,
        to: this.#at + lengthBytes,
        historyBytes: Math.min(this.#processedBytes, dictionaryBytes),
        processedBytes: this.#processedBytes % 16,
      });
      if (!decoded) throw malformed(reader, 'a chunk does not decode');
      yield this.#advance(lengthBytes);
    }
  }

  #setProperties(byte: number, reader: ByteReader): void {
    const lc = byte % 9;
    const lp = Math.floor(byte / 9) % 5;
    const pb = Math.floor(byte / 45);
    if (pb > 4 || lc + lp > 4) throw malformed(reader, 'the properties are wrong');
    this.#lzma.lc = lc;
    this.#lzma.lp = lp;
    this.#lzma.pb = pb;
  }

  #advance(lengthBytes: number): Uint8Array {
    const output = this.#buffer.subarray(this.#at, this.#at + lengthBytes);
    this.#at += lengthBytes;
    this.#processedBytes += lengthBytes;
    return output;
  }

  /** Makes room for a chunk: the buffer grows as output comes, up to a dictionary and what is put behind it. */
  #reserve(lengthBytes: number, dictionaryBytes: number): void {
    if (this.#at + lengthBytes <= this.#buffer.length) return;
    const most = dictionaryBytes + Math.max(2 * CHUNK_BYTES_MAX, Math.floor(dictionaryBytes / 4));
    if (this.#buffer.length < most) {
      const grown = new Uint8Array(Math.min(most, 2 * this.#buffer.length));
      grown.set(this.#buffer.subarray(0, this.#at));
      this.#buffer = grown;
      this.#reserve(lengthBytes, dictionaryBytes);
      return;
    }
    const from = Math.max(0, this.#at - dictionaryBytes);
    this.#buffer.copyWithin(0, from, this.#at);
    this.#at -= from;
  }
}

function malformed(reader: ByteReader, what: string): ImageError {
  return new ImageError('IMAGE_MALFORMED', `the compressed data is damaged: ${what}`, {
    structure: STRUCTURE,
    offsetBytes: reader.takenBytes,
  });
}
