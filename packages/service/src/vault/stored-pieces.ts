import type { ByteSource } from '@gantry/disk';

/**
 * The pieces of a disk as the vault stores them, for files whose clusters are the same zstd frames.
 * A piece is 65536 guest bytes; the last one is zero-extended.
 */
export interface StoredPieces {
  readonly pieceBytes: number;
  readonly pieceCount: number;
  /** 0 for a piece of zeros, 65536 for one that is stored as it is, else the length of its zstd frame. */
  storedLength(piece: number): number;
  /**
   * The stored bytes: those of piece i are the range that begins at i * 65536 and is storedLength(i) long. A
   * read stays inside one piece, and passes the CRC-32 of the whole piece.
   */
  readonly source: ByteSource;
}
