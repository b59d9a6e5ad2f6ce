import { type FileHandle, open } from 'node:fs/promises';
import { type ByteSource, StoreError } from '@gantry/disk';
import type { StoredPiece } from './object-store.ts';
import { told } from './told.ts';

/** Files of one source that stay open; one that was uploaded in parts may have thousands. */
const OPEN_FILES = 4;

interface OpenFile {
  readonly handle: Promise<FileHandle>;
  /** Reads under way. */
  users: number;
}

/** The files of an object's pieces, one after the other, opened as they are read. */
export class PieceSource implements ByteSource {
  readonly name: string;
  readonly lengthBytes: number;
  readonly #pieces: readonly StoredPiece[];
  /** Where each piece begins. */
  readonly #starts: readonly number[];
  readonly #pathOf: (name: string) => string;
  /** By index of the piece, the least recently used first. */
  readonly #open: Map<number, OpenFile> = new Map();

  constructor(pieces: readonly StoredPiece[], pathOf: (name: string) => string) {
    this.name = pieces.length === 1 ? (pieces[0]?.name ?? '') : `${pieces.length} parts`;
    this.#pieces = pieces;
    this.#pathOf = pathOf;
    const starts: number[] = [];
    let lengthBytes = 0;
    for (const piece of pieces) {
      starts.push(lengthBytes);
      lengthBytes += piece.lengthBytes;
    }
    this.#starts = starts;
    this.lengthBytes = lengthBytes;
  }

  /** Opens the first file, so that one who may come too late learns it here. */
  async openFirst(): Promise<void> {
    await this.#withFile(0, async () => {});
  }

  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    let done = 0;
    for (let index = this.#pieceAt(offsetBytes); done < into.length; index++) {
      const piece = this.#pieces[index];
      const start = this.#starts[index];
      if (piece === undefined || start === undefined) throw new RangeError(`read beyond ${this.name}`);
      const from = offsetBytes + done - start;
      const part = into.subarray(done, done + Math.min(into.length - done, piece.lengthBytes - from));
      if (part.length > 0) await this.#withFile(index, (handle) => fill(handle, from, part, piece, signal));
      done += part.length;
    }
  }

  async close(): Promise<void> {
    const files = [...this.#open.values()];
    this.#open.clear();
    await Promise.all(files.map(closeFile));
  }

  /** The last piece that begins at or before the offset. */
  #pieceAt(offsetBytes: number): number {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#starts[middle] ?? 0) <= offsetBytes) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  async #withFile(index: number, use: (handle: FileHandle) => Promise<void>): Promise<void> {
    const file = this.#fileOf(index);
    file.users++;
    try {
      await use(await file.handle);
    } finally {
      file.users--;
      await this.#closeIdle();
    }
  }

  /** The open file of a piece, marked as the most recently used. */
  #fileOf(index: number): OpenFile {
    const known = this.#open.get(index);
    const file = known ?? { handle: this.#openPiece(index), users: 0 };
    this.#open.delete(index);
    this.#open.set(index, file);
    // One that could not be opened is tried again by the next read.
    if (known === undefined) file.handle.catch(() => this.#open.delete(index));
    return file;
  }

  async #openPiece(index: number): Promise<FileHandle> {
    const piece = this.#pieces[index];
    if (piece === undefined) throw new RangeError(`${this.name} has no piece ${index}`);
    const handle = await told(piece.name, open(this.#pathOf(piece.name), 'r'));
    const { size } = await handle.stat();
    if (size === piece.lengthBytes) return handle;
    await handle.close();
    throw new StoreError('STORE_CORRUPT', `${piece.name} holds ${size} bytes, not ${piece.lengthBytes}`, {
      where: piece.name,
      hint: 'the object folder was changed from outside, or its disk is damaged: restore it from a backup',
    });
  }

  async #closeIdle(): Promise<void> {
    for (const [index, file] of this.#open) {
      if (this.#open.size <= OPEN_FILES) return;
      if (file.users > 0) continue;
      this.#open.delete(index);
      await closeFile(file);
    }
  }
}

async function closeFile(file: OpenFile): Promise<void> {
  const handle = await file.handle.catch(() => undefined);
  await handle?.close();
}

async function fill(
  handle: FileHandle,
  offsetBytes: number,
  into: Uint8Array,
  piece: StoredPiece,
  signal: AbortSignal | undefined,
): Promise<void> {
  let done = 0;
  while (done < into.length) {
    signal?.throwIfAborted();
    const { bytesRead } = await told(
      piece.name,
      handle.read(into, done, into.length - done, offsetBytes + done),
    );
    if (bytesRead === 0) {
      throw new StoreError('STORE_CORRUPT', `${piece.name} became shorter while it was read`, {
        where: piece.name,
      });
    }
    done += bytesRead;
  }
}
