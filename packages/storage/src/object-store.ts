import type { ByteSource } from '@gantry/disk';

export interface PutOptions {
  readonly signal?: AbortSignal | undefined;
  /** Refused with STORE_FULL before the first byte when the store has no room for this many. */
  readonly expectedBytes?: number | undefined;
  /** Told after each chunk how many bytes arrived in all. */
  readonly onBytes?: ((doneBytes: number) => void) | undefined;
}

export interface PutResult {
  readonly lengthBytes: number;
}

/** Bytes that were put, as the one who keeps their name remembers them. */
export interface StoredPiece {
  readonly name: string;
  readonly lengthBytes: number;
}

/**
 * The byte side of objects. Names are ours (`newStoredName`), never a user's, and none is used twice: bytes
 * under a name never change. What the bytes belong to stands in the catalogue. An object that was uploaded in
 * parts is a list of pieces there, so that completing an upload moves no byte here.
 */
export interface ObjectStore {
  /**
   * Stores all that `chunks` yields: durable when it returns, and nothing left behind when it throws. The store
   * keeps a chunk until it is written: whoever yields one does not write to it again. Throws StoreError
   * (STORE_FULL when there is no room), the signal's reason, or whatever `chunks` throws.
   */
  put(name: string, chunks: AsyncIterable<Uint8Array>, options?: PutOptions): Promise<PutResult>;
  /**
   * The pieces, one after the other, as one source. It stays whole until it is closed, even when they are
   * deleted meanwhile. Throws STORE_NOT_FOUND when they were deleted, STORE_CORRUPT when a piece does not have its
   * length.
   */
  open(pieces: readonly StoredPiece[]): Promise<ByteSource>;
  /**
   * Gives a piece's bytes another name, which keeps them when the piece is deleted: durable when it returns. Moves no
   * byte where the file system can help it. Throws STORE_NOT_FOUND when the piece was deleted.
   */
  copy(piece: StoredPiece, name: string): Promise<void>;
  /** Deletes the pieces of one source; names that are not there do no harm. */
  delete(names: readonly string[]): Promise<void>;
  /** Every name, in no order. */
  names(): AsyncIterable<string>;
  /** Bytes that can still be put. */
  freeBytes(): Promise<number>;
}
