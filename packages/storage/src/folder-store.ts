import { constants } from 'node:fs';
import { copyFile, link, mkdir, open, opendir, readdir, rename, rm, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type ByteSource, StoreError, storeError, syncFolder } from '@gantry/disk';
import { BatchWriter, FlushTurn } from './batch-writer.ts';
import type { ObjectStore, PutOptions, PutResult, StoredPiece } from './object-store.ts';
import { PieceSource } from './piece-source.ts';
import { isStoredName, requireStoredName } from './stored-names.ts';
import { told } from './told.ts';
import { untilAborted } from './until-aborted.ts';

/** Where bytes stand until they are whole: not beside the others, so that a start need not search them all. */
const INCOMING = 'incoming';

/**
 * An object store in a folder: FOLDER/<first 2 hex of the name>/<name>, one file a piece. A file is written in
 * FOLDER/incoming, synced, renamed to its place and the rename synced, so that it is there whole or not at all,
 * whenever the power fails. What a crash left in `incoming` is removed here.
 *
 * One process at a time may have the folder open: whoever opens it removes what others are writing.
 */
export async function openFolderStore(folder: string): Promise<ObjectStore> {
  try {
    const incoming = join(folder, INCOMING);
    await rm(incoming, { recursive: true, force: true });
    await mkdir(incoming, { recursive: true, mode: 0o700 });
    await syncFolder(folder);
  } catch (error) {
    throw storeError(error, folder);
  }
  return new FolderStore(folder);
}

class FolderStore implements ObjectStore {
  readonly #folder: string;
  readonly #flushTurn: FlushTurn = new FlushTurn();
  /** How many open sources need a name. */
  readonly #readers: Map<string, number> = new Map();
  /** Deleted, and still on the disk: on their way out, or held by a source that is open. */
  readonly #deleted: Set<string> = new Set();

  constructor(folder: string) {
    this.#folder = folder;
  }

  async put(name: string, chunks: AsyncIterable<Uint8Array>, options: PutOptions = {}): Promise<PutResult> {
    await this.#requireRoom(name, options.expectedBytes ?? 0);
    const partial = join(this.#folder, INCOMING, name);
    const path = this.#pathOf(name);
    try {
      const result = await writeFile(name, partial, chunks, options, this.#flushTurn);
      await told(name, this.#show(partial, path));
      return result;
    } catch (error) {
      // What cannot be removed now is removed at the next start, or with the other bytes that nobody needs.
      for (const left of [partial, path]) await rm(left, { force: true }).catch(() => {});
      throw error;
    }
  }

  async open(pieces: readonly StoredPiece[]): Promise<ByteSource> {
    const gone = pieces.find(({ name }) => this.#deleted.has(name));
    if (gone !== undefined) {
      throw new StoreError('STORE_NOT_FOUND', `${gone.name} was deleted`, { where: gone.name });
    }
    const source = new PieceSource(pieces, (name) => this.#pathOf(name));
    // From here on none of the names goes away. That the first is there tells that none went before, since they
    // are deleted in order.
    for (const { name } of pieces) this.#readers.set(name, (this.#readers.get(name) ?? 0) + 1);
    let open = true;
    const close = async () => {
      if (!open) return;
      open = false;
      await source.close();
      await this.#release(pieces);
    };
    try {
      if (pieces.length > 0) await source.openFirst();
    } catch (error) {
      await close();
      throw error;
    }
    return {
      name: source.name,
      lengthBytes: source.lengthBytes,
      read: (offsetBytes, into, signal) => source.read(offsetBytes, into, signal),
      close,
    };
  }

  async copy(piece: StoredPiece, name: string): Promise<void> {
    const source = await this.open([piece]);
    const [from, partial, to] = [
      this.#pathOf(piece.name),
      join(this.#folder, INCOMING, name),
      this.#pathOf(name),
    ];
    try {
      // A second name of the same file: what is stored never changes.
      if (!(await linked(piece.name, from, partial))) await copied(piece.name, from, partial);
      await told(name, this.#show(partial, to));
    } catch (error) {
      for (const left of [partial, to]) await rm(left, { force: true }).catch(() => {});
      throw error;
    } finally {
      await source.close();
    }
  }

  async delete(names: readonly string[]): Promise<void> {
    for (const name of names) requireStoredName(name);
    const free = names.filter((name) => !this.#readers.has(name));
    for (const name of names) this.#deleted.add(name);
    for (const name of free) await this.#remove(name);
  }

  async *names(): AsyncGenerator<string, void, undefined> {
    for (const subfolder of await told(this.#folder, readdir(this.#folder))) {
      if (!/^[0-9a-f]{2}$/.test(subfolder)) continue;
      const path = join(this.#folder, subfolder);
      for await (const { name } of await told(path, opendir(path))) {
        if (isStoredName(name) && !this.#deleted.has(name)) yield name;
      }
    }
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await told(this.#folder, statfs(this.#folder));
    return bavail * bsize;
  }

  async #requireRoom(name: string, lengthBytes: number): Promise<void> {
    if (lengthBytes === 0 || lengthBytes <= (await this.freeBytes())) return;
    throw new StoreError('STORE_FULL', `there is no room for ${lengthBytes} bytes in the object folder`, {
      where: name,
      hint: 'delete objects that are no longer needed, or give the data folder a larger disk',
    });
  }

  async #release(pieces: readonly StoredPiece[]): Promise<void> {
    for (const { name } of pieces) {
      const readers = (this.#readers.get(name) ?? 0) - 1;
      if (readers > 0) {
        this.#readers.set(name, readers);
        continue;
      }
      this.#readers.delete(name);
      if (this.#deleted.has(name)) await this.#remove(name);
    }
  }

  async #remove(name: string): Promise<void> {
    // Not synced: a name that a power failure brings back is one that the catalogue does not need.
    await told(name, rm(this.#pathOf(name), { force: true }));
    this.#deleted.delete(name);
  }

  async #show(partial: string, path: string): Promise<void> {
    const subfolder = dirname(path);
    const made = await mkdir(subfolder, { recursive: true, mode: 0o700 });
    if (made !== undefined) await syncFolder(this.#folder);
    await rename(partial, path);
    await syncFolder(subfolder);
  }

  #pathOf(name: string): string {
    requireStoredName(name);
    return join(this.#folder, name.slice(0, 2), name);
  }
}

/** What a file system says that has no second names, or not that many of one file. */
const NO_LINKS = new Set(['EPERM', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EXDEV', 'EACCES']);

/** False where the file system has no second names for a file. */
async function linked(where: string, from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (NO_LINKS.has((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw storeError(error, where);
  }
}

async function copied(where: string, from: string, to: string): Promise<void> {
  await told(where, copyFile(from, to, constants.COPYFILE_FICLONE));
  const handle = await told(where, open(to, 'r+'));
  try {
    await told(where, handle.sync());
  } finally {
    await handle.close();
  }
}

/** Writes a new file, durable when this returns. What `chunks` throws passes as it is. */
async function writeFile(
  name: string,
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  options: PutOptions,
  turn: FlushTurn,
): Promise<PutResult> {
  const { signal, onBytes } = options;
  const handle = await told(name, open(path, 'wx', 0o600));
  const writer = new BatchWriter(handle, turn);
  try {
    let lengthBytes = 0;
    for await (const chunk of signal === undefined ? chunks : untilAborted(chunks, signal)) {
      lengthBytes += chunk.length;
      const full = writer.push(chunk);
      if (full !== undefined) await told(name, full);
      onBytes?.(lengthBytes);
    }
    await told(name, writer.finish());
    return { lengthBytes };
  } finally {
    await writer.settle();
    await handle.close();
  }
}
