import { ImageError } from '../errors.ts';

/** Bytes of known length, readable at any offset: a file, a buffer, an HTTP object, a member, a view. */
export interface ByteSource {
  /** For messages: a path, an address, an object's name. */
  readonly name: string;
  readonly lengthBytes: number;
  /**
   * Fills all of `into` from `offsetBytes`. The range lies inside the source: asking beyond it is the
   * caller's mistake. Throws StoreError when the bytes cannot be had, the signal's reason when aborted.
   */
  read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
  /**
   * True for bytes that arrive once, front to back: a pipe, an upload. Readers of formats then keep to the order
   * of the file and learn what the end says when they come to it.
   */
  readonly sequential?: boolean;
  /**
   * True while the end of arriving bytes is not known: `lengthBytes` is then the most that it can be, and reading
   * beyond the end throws IMAGE_TRUNCATED.
   */
  readonly openEnded?: boolean;
  /**
   * The bytes from a place to the end, in order, not kept for other reads: how an arriving source is taken in
   * whole, also where its end is not known. Absent where `read` does that as well.
   */
  rest?(fromBytes: number, signal?: AbortSignal): AsyncIterable<Uint8Array>;
  /**
   * Takes in what is left of arriving bytes, so that their end is known; the newest of them can still be read.
   * Throws when there are more or fewer than there were said to be.
   */
  drain?(signal?: AbortSignal): Promise<void>;
  /** Set for a part of another source, which its bytes can be read from as well. */
  readonly within?: { readonly source: ByteSource; readonly offsetBytes: number };
  /**
   * The ranges inside [from, to) that may hold other bytes than zeros, in order, where the source knows its
   * holes: a sparse file. Absent where everything has to be read to know.
   */
  allocatedRanges?(fromBytes: number, toBytes: number, signal?: AbortSignal): AsyncIterable<ByteRange>;
}

export interface ByteRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/**
 * Reads one structure of an image. Throws IMAGE_TRUNCATED when the source ends before it, so a length from
 * the image never allocates more than the source holds.
 */
export async function readStructure(
  source: ByteSource,
  offsetBytes: number,
  lengthBytes: number,
  structure: string,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  requireInside(source, offsetBytes, lengthBytes, structure);
  const bytes = new Uint8Array(lengthBytes);
  await source.read(offsetBytes, bytes, signal);
  return bytes;
}

/** Throws IMAGE_TRUNCATED unless [offset, offset + length) lies in the source. */
export function requireInside(
  source: ByteSource,
  offsetBytes: number,
  lengthBytes: number,
  structure: string,
): void {
  if (offsetBytes + lengthBytes <= source.lengthBytes) return;
  throw new ImageError(
    'IMAGE_TRUNCATED',
    `${structure} needs bytes ${offsetBytes} to ${offsetBytes + lengthBytes}, but ${source.name} ends at ${source.lengthBytes}`,
    { structure, offsetBytes },
  );
}
