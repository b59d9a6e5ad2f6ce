import { type FileHandle, open, rename, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import {
  type ByteSource,
  DIGEST_BLOCK_BYTES,
  DigestTree,
  type DigestTreeState,
  type Disk,
  denyReferences,
  diskDigest,
  fileSource,
  isZero,
  type Layout,
  mapOrdered,
  openDisk,
  type ProgressListener,
  pieceLength,
  planImage,
  readZeroExtended,
  StoreError,
  sha256,
  storeError,
  syncFolder,
} from '@gantry/disk';

/** How far a file has been written: enough to go on in another process. */
export interface DiskCheckpoint {
  /** What the identifiers in the file derive from, in hex: fixed with the file, so that both keep them. */
  readonly seed: string;
  readonly lengthBytes: number;
  /** Everything before this is on disk. */
  readonly doneBytes: number;
  readonly digest: DigestTreeState;
}

export interface DiskWriterOptions {
  /** Where the file grows; it has no other name before it is whole and was read back. */
  readonly partialPath: string;
  /** 32 bytes in hex. */
  readonly seed: string;
  /** Ranges that are read at once. */
  readonly parallel: number;
  readonly signal: AbortSignal;
  readonly onCheckpoint: (checkpoint: DiskCheckpoint) => Promise<void>;
  readonly onProgress?: ProgressListener | undefined;
  /** Written between two checkpoints. Default 64 MiB. */
  readonly checkpointBytes?: number | undefined;
}

const FORMAT = 'vmdk';
/** The one form of a VMDK that VirtualBox grows and writes to. */
const FORMAT_OPTIONS = { subformat: 'monolithicSparse' };
const CHUNK_BYTES = 2 ** 20;
const CHECKPOINT_BYTES = 64 * 2 ** 20;

/** Plans the VMDK of a disk: its tables are read, its data is not. */
export async function planDisk(disk: Disk, seed: string, signal: AbortSignal): Promise<Layout> {
  const plan = await planImage(disk, {
    format: FORMAT,
    options: FORMAT_OPTIONS,
    seed: Uint8Array.fromHex(seed),
    signal,
  });
  if (plan.kind === 'layout') return plan;
  throw new StoreError('STORE_REFUSED', 'a VMDK of this form has no known length', { where: FORMAT });
}

/** Throws STORE_FULL when the folder's file system has less room than is still to be written. */
export async function requireRoom(path: string, neededBytes: number): Promise<void> {
  const folder = dirname(path);
  const freeBytes = await freeBytesIn(folder);
  if (freeBytes >= neededBytes) return;
  throw new StoreError(
    'STORE_FULL',
    `${neededBytes} bytes are needed in ${folder}, and ${freeBytes} are free`,
    {
      where: folder,
      hint: 'free some space, then go on with the same command: nothing is exported again',
    },
  );
}

/** What an ordinary user may still write there. Throws STORE_NOT_FOUND when the folder is not there. */
export async function freeBytesIn(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder).catch((error) => {
    throw storeError(error, folder);
  });
  return bavail * bsize;
}

/**
 * Writes a disk that is read from afar as a file, from where an earlier process stopped, and gives the digest of what
 * was read. A file is a pure function of the disk and the seed, so any part of it can be written by itself.
 */
export async function writeDisk(
  disk: Disk,
  layout: Layout,
  from: DiskCheckpoint | undefined,
  options: DiskWriterOptions,
): Promise<string> {
  const writer = await DiskWriter.open(disk, layout, from, options);
  try {
    return await writer.run();
  } finally {
    await writer.close();
  }
}

interface Chunk {
  readonly fileBytes: number;
  readonly lengthBytes: number;
  /** Where the guest has it; undefined for the file's own tables. */
  readonly guestBytes: number | undefined;
  readonly bytes?: Uint8Array;
}

class DiskWriter {
  readonly #disk: Disk;
  readonly #layout: Layout;
  readonly #options: DiskWriterOptions;
  readonly #handle: FileHandle;
  readonly #leaves: OrderedLeaves;
  #savedBytes: number;

  private constructor(
    disk: Disk,
    layout: Layout,
    from: DiskCheckpoint | undefined,
    options: DiskWriterOptions,
    handle: FileHandle,
  ) {
    this.#disk = disk;
    this.#layout = layout;
    this.#options = options;
    this.#handle = handle;
    this.#savedBytes = from?.doneBytes ?? 0;
    this.#leaves = new OrderedLeaves(new DigestTree(from?.digest));
  }

  static async open(
    disk: Disk,
    layout: Layout,
    from: DiskCheckpoint | undefined,
    options: DiskWriterOptions,
  ): Promise<DiskWriter> {
    const { partialPath } = options;
    const { lengthBytes } = layout;
    try {
      const kept = from === undefined ? undefined : await open(partialPath, 'r+').catch(() => undefined);
      if (kept !== undefined) {
        // Only the very file that the checkpoint is of.
        if ((await kept.stat()).size === lengthBytes && from?.lengthBytes === lengthBytes)
          return new DiskWriter(disk, layout, from, options, kept);
        await kept.close();
      }
      const handle = await open(partialPath, 'w', 0o600);
      await handle.truncate(lengthBytes);
      return new DiskWriter(disk, layout, undefined, options, handle);
    } catch (error) {
      throw storeError(error, partialPath);
    }
  }

  async run(): Promise<string> {
    const { signal, onProgress, checkpointBytes = CHECKPOINT_BYTES, parallel } = this.#options;
    const totalBytes = this.#layout.lengthBytes;
    const progress = (doneBytes: number) => onProgress?.({ phase: 'download', doneBytes, totalBytes });
    progress(this.#savedBytes);
    if (this.#savedBytes === 0) await this.#checkpoint(0);
    const chunks = chunksOf(this.#layout, this.#savedBytes);
    for await (const chunk of mapOrdered(chunks, parallel, (each) => this.#copy(each))) {
      signal.throwIfAborted();
      const { guestBytes, fileBytes, lengthBytes, bytes } = chunk;
      if (guestBytes !== undefined && bytes !== undefined) {
        const isFar = fileBytes - this.#savedBytes >= checkpointBytes;
        if (isFar && this.#leaves.isNew(guestBytes)) await this.#checkpoint(fileBytes);
        this.#leaves.add(guestBytes, bytes);
      }
      progress(fileBytes + lengthBytes);
    }
    const digest = this.#leaves.finish();
    await this.#handle.sync();
    return digest;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async #checkpoint(doneBytes: number): Promise<void> {
    const digest = this.#leaves.state();
    await this.#handle.datasync();
    const { seed } = this.#options;
    const { lengthBytes } = this.#layout;
    await this.#options.onCheckpoint({ seed, lengthBytes, doneBytes, digest });
    this.#savedBytes = doneBytes;
  }

  async #copy(chunk: Chunk): Promise<Chunk> {
    const { signal, partialPath } = this.#options;
    signal.throwIfAborted();
    let bytes = chunk.bytes;
    if (bytes === undefined) {
      bytes = new Uint8Array(chunk.lengthBytes);
      await readZeroExtended(this.#disk, chunk.guestBytes ?? 0, bytes, signal);
    }
    // What a process wrote that was killed behind its last checkpoint is the same bytes.
    if (!isZero(bytes)) {
      try {
        for (let done = 0; done < bytes.length; ) {
          const { bytesWritten } = await this.#handle.write(
            bytes,
            done,
            bytes.length - done,
            chunk.fileBytes + done,
          );
          done += bytesWritten;
        }
      } catch (error) {
        throw storeError(error, partialPath);
      }
    }
    return { ...chunk, bytes };
  }
}

/**
 * The file from a place on, in pieces that the guest has in one place, too, and that end where its next MiB begins:
 * so that there are places between two leaves of the digest.
 */
function* chunksOf(layout: Layout, fromBytes: number): Iterable<Chunk> {
  let fileBytes = fromBytes;
  let run: { fileBytes: number; guestBytes: number; lengthBytes: number } | undefined;
  for (const piece of layout.pieces(fromBytes, layout.lengthBytes)) {
    if (piece.kind === 'stored') {
      throw new StoreError('STORE_REFUSED', 'stored data cannot be passed through', { where: layout.format });
    }
    const end = fileBytes + pieceLength(piece);
    if (piece.kind === 'bytes') {
      if (run !== undefined) yield run;
      run = undefined;
      yield { fileBytes, lengthBytes: piece.bytes.length, guestBytes: undefined, bytes: piece.bytes };
    } else if (piece.kind === 'disk') {
      for (let at = fileBytes; at < end; ) {
        const guestBytes = piece.offsetBytes + (at - fileBytes);
        const lengthBytes = Math.min(end - at, CHUNK_BYTES - (guestBytes % CHUNK_BYTES));
        const goesOn =
          run !== undefined &&
          run.fileBytes + run.lengthBytes === at &&
          run.guestBytes + run.lengthBytes === guestBytes &&
          guestBytes % CHUNK_BYTES !== 0;
        if (run !== undefined && goesOn) run.lengthBytes += lengthBytes;
        else {
          if (run !== undefined) yield run;
          run = { fileBytes: at, guestBytes, lengthBytes };
        }
        at += lengthBytes;
      }
    }
    fileBytes = end;
  }
  if (run !== undefined) yield run;
}

/** The leaves of a digest from runs of the disk in order, zeros between them. */
class OrderedLeaves {
  readonly #tree: DigestTree;
  readonly #block: Uint8Array = new Uint8Array(DIGEST_BLOCK_BYTES);
  #index = -1;

  constructor(tree: DigestTree) {
    this.#tree = tree;
  }

  /** True when what stands there belongs to no leaf that was begun. */
  isNew(offsetBytes: number): boolean {
    return Math.floor(offsetBytes / DIGEST_BLOCK_BYTES) !== this.#index;
  }

  add(offsetBytes: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const at = offsetBytes + done;
      if (this.isNew(at)) {
        this.#end();
        this.#index = Math.floor(at / DIGEST_BLOCK_BYTES);
      }
      const inside = at % DIGEST_BLOCK_BYTES;
      const part = bytes.subarray(done, done + DIGEST_BLOCK_BYTES - inside);
      this.#block.set(part, inside);
      done += part.length;
    }
  }

  /** Between two leaves. */
  state(): DigestTreeState {
    this.#end();
    return this.#tree.state;
  }

  finish(): string {
    this.#end();
    return this.#tree.finish();
  }

  #end(): void {
    if (this.#index >= 0 && !isZero(this.#block)) this.#tree.add(this.#index, sha256(this.#block));
    this.#block.fill(0);
    this.#index = -1;
  }
}

/** What a finished file says of itself when it is read back. */
export interface ReadBack {
  readonly digest: string;
  readonly virtualSizeBytes: number;
  /** `ddb.uuid.image`, lower case. */
  readonly uuid: string;
}

/** Reads a written file as any other program would. */
export async function readBack(
  path: string,
  signal: AbortSignal,
  onProgress: ProgressListener,
): Promise<ReadBack> {
  const source: ByteSource = await fileSource(path);
  try {
    const disk = await openDisk(source, { format: FORMAT, references: denyReferences, signal });
    const digest = await diskDigest(disk, { signal, onProgress });
    const { virtualSizeBytes, details } = disk;
    await disk.close();
    return { digest, virtualSizeBytes, uuid: String(details['uuid.image']).toLowerCase() };
  } finally {
    await source.close();
  }
}

/** Gives a file its final name. */
export async function reveal(partialPath: string, path: string): Promise<void> {
  try {
    await rename(partialPath, path);
    await syncFolder(dirname(path));
  } catch (error) {
    throw storeError(error, path);
  }
}
