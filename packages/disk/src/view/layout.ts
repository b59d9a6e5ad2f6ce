import type { ByteSource } from '../io/byte-source.ts';

/** A run of an output file. */
export type Piece =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'zero'; readonly lengthBytes: number }
  /** Guest bytes of the disk; the range may reach beyond the virtual size, where it reads zero. */
  | { readonly kind: 'disk'; readonly offsetBytes: number; readonly lengthBytes: number }
  /** Bytes as they are stored elsewhere, such as a compressed cluster that is passed through. */
  | {
      readonly kind: 'stored';
      readonly source: ByteSource;
      readonly offsetBytes: number;
      readonly lengthBytes: number;
    };

/**
 * The plan of an output file, made from a disk's extents before a data byte is read. Pure: the same disk and
 * options give the same pieces, however the range is cut.
 */
export interface Layout {
  readonly kind: 'layout';
  readonly format: string;
  readonly lengthBytes: number;
  /** The pieces that make up [from, to) of the file, in order. Metadata is made for the range alone. */
  pieces(fromBytes: number, toBytes: number): Iterable<Piece>;
}

export function pieceLength(piece: Piece): number {
  return piece.kind === 'bytes' ? piece.bytes.length : piece.lengthBytes;
}
