import { inflateRaw, inflateZlib } from '../bytes/inflate.ts';
import { ImageError } from '../errors.ts';
import type { Compression } from './codec.ts';

// What node-codec.ts gives, in a browser. A DecompressionStream refuses what stands behind the compressed data,
// and images have padding there: so it is decompressed here.

export async function decompress(
  kind: Compression,
  bytes: Uint8Array,
  lengthBytes: number,
  structure: string,
  offsetBytes?: number,
): Promise<Uint8Array> {
  if (kind === 'zstd') throw noZstd(structure);
  const output = new Uint8Array(lengthBytes);
  const problem = problemOf(() => {
    const { writtenBytes } = kind === 'zlib' ? inflateZlib(output, bytes) : inflateRaw(output, bytes);
    return writtenBytes === lengthBytes ? undefined : `gives ${writtenBytes} bytes, not ${lengthBytes}`;
  });
  if (problem === undefined) return output;
  throw new ImageError('IMAGE_MALFORMED', `${structure}: ${kind} data ${problem}`, {
    structure,
    offsetBytes,
  });
}

function problemOf(work: () => string | undefined): string | undefined {
  try {
    return work();
  } catch (error) {
    return `does not decompress (${error instanceof Error ? error.message : String(error)})`;
  }
}

/** Compresses one buffer. Throws IMAGE_UNSUPPORTED for zstd, and for a window that a browser cannot keep to. */
export async function compress(
  kind: Compression,
  bytes: Uint8Array,
  windowBits: number | undefined,
): Promise<Uint8Array> {
  if (kind === 'zstd') throw noZstd('compression');
  if (windowBits !== undefined && windowBits < 15) {
    throw new ImageError('IMAGE_UNSUPPORTED', 'a browser cannot compress for qcow2: its window is too wide', {
      structure: 'compression',
      hint: 'write it uncompressed, or a VMDK; or use Node, or the command',
    });
  }
  // A copy: streams take no memory that is shared.
  const stream = new Blob([new Uint8Array(bytes)]).stream();
  const packed = stream.pipeThrough(new CompressionStream(kind === 'zlib' ? 'deflate' : 'deflate-raw'));
  return new Uint8Array(await new Response(packed).arrayBuffer());
}

function noZstd(structure: string): ImageError {
  return new ImageError('IMAGE_UNSUPPORTED', 'there is no zstd in a browser', {
    structure,
    hint: 'use Node, or the command',
  });
}
