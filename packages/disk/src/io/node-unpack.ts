import { Readable } from 'node:stream';
import zlib from 'node:zlib';
import { ImageError } from '../errors.ts';

const OUTPUT_CHUNK_BYTES: number = 256 * 1024;
/** Windows above 128 MiB are only made on request (`zstd --long=28` and up), and are refused. */
const ZSTD_WINDOW_LOG_MAX = 27;

/** Unpacks gzip members or zstd frames, one after the other, as they come. Chunks stay the caller's. */
export async function* unpackStream(
  kind: 'gzip' | 'zstd',
  input: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const unpacker =
    kind === 'gzip'
      ? zlib.createGunzip({ chunkSize: OUTPUT_CHUNK_BYTES })
      : zlib.createZstdDecompress({
          chunkSize: OUTPUT_CHUNK_BYTES,
          params: { [zlib.constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX },
        });
  const packed = Readable.from(input, { objectMode: false, highWaterMark: OUTPUT_CHUNK_BYTES });
  // A failure of the input is the reader's; `pipe` alone would leave it waiting.
  packed.on('error', (error) => unpacker.destroy(error));
  try {
    yield* packed.pipe(unpacker);
  } catch (error) {
    throw imageError(kind, error);
  } finally {
    unpacker.destroy();
    packed.destroy();
  }
}

/** What the codecs say, as errors of the image; failures of the input pass. */
function imageError(kind: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  const place = { structure: `${kind} data` };
  if (code === 'Z_BUF_ERROR') {
    return new ImageError('IMAGE_TRUNCATED', `the ${kind} data ends in its middle`, place);
  }
  if (code === 'ZSTD_error_frameParameter_windowTooLarge') {
    return new ImageError('IMAGE_LIMIT', 'the zstd data needs a window above 128 MiB', {
      ...place,
      hint: 'decompress it first, with zstd -d --long=31',
    });
  }
  if (code?.startsWith('Z_') || code?.startsWith('ZSTD_')) {
    return new ImageError(
      'IMAGE_MALFORMED',
      `the ${kind} data is damaged (${(error as Error).message})`,
      place,
    );
  }
  return error;
}
