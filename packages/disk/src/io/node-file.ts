import { constants, readSync, writeSync } from 'node:fs';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isZero } from '../bytes/fields.ts';
import { StoreError } from '../errors.ts';
import type { ByteSink } from './byte-sink.ts';
import type { ByteRange, ByteSource } from './byte-source.ts';
import { allocatedRangesOf, knowsHoles } from './node-holes.ts';

/** Without O_NONBLOCK (which Windows does not have) the opening of a named pipe would wait for its writer. */
const READ_FLAGS = constants.O_RDONLY + (constants.O_NONBLOCK ?? 0);

/** Opens a file (or block device) for reading. Throws StoreError when it is not there or not readable. */
export async function fileSource(path: string): Promise<ByteSource> {
  const handle = await open(path, READ_FLAGS).catch((error) => {
    throw storeError(error, path);
  });
  try {
    const found = await handle.stat();
    if (!found.isFile() && !found.isBlockDevice()) {
      throw new StoreError('STORE_IO', `${path} is neither a file nor a block device`, { where: path });
    }
    const lengthBytes = found.isBlockDevice() ? await deviceLength(handle, path) : found.size;
    return new FileSource(path, handle, lengthBytes, found.mtimeMs, found.isFile() && knowsHoles(handle.fd));
  } catch (error) {
    await handle.close();
    throw error;
  }
}

const SPOOL_PIECE_BYTES = 64 * 1024;

/** Of a file that must not be there yet: one that somebody has foreseen is refused when it is opened. */
function uniqueName(): string {
  return Math.random().toString(36).slice(2, 12).padEnd(10, '0');
}

/**
 * Bytes that arrive, put into a file of the folder that has no name and goes when it is closed, zeros as holes:
 * what has to be read at any offset, or measured. Throws StoreError, with STORE_FULL when the disk is full.
 */
export async function spooledSource(
  bytes: AsyncIterable<Uint8Array>,
  folder: string,
  name: string,
  signal?: AbortSignal,
): Promise<ByteSource> {
  const path = join(folder, `.gantry.${uniqueName()}.spool`);
  const handle = await open(path, 'wx+', 0o600).catch((error) => {
    throw storeError(error, folder);
  });
  try {
    await rm(path);
    let lengthBytes = 0;
    for await (const chunk of bytes) {
      signal?.throwIfAborted();
      await writeWithoutZeros(handle, chunk, lengthBytes);
      lengthBytes += chunk.length;
    }
    await handle.truncate(lengthBytes);
    const { mtimeMs } = await handle.stat();
    return new FileSource(name, handle, lengthBytes, mtimeMs, knowsHoles(handle.fd));
  } catch (error) {
    await handle.close();
    throw storeError(error, folder);
  }
}

async function writeWithoutZeros(handle: FileHandle, chunk: Uint8Array, offsetBytes: number): Promise<void> {
  for (let at = 0; at < chunk.length; ) {
    let end = Math.min(at + SPOOL_PIECE_BYTES, chunk.length);
    if (!isZero(chunk.subarray(at, end))) {
      while (end < chunk.length && !isZero(chunk.subarray(end, end + SPOOL_PIECE_BYTES))) {
        end = Math.min(end + SPOOL_PIECE_BYTES, chunk.length);
      }
      for (let done = at; done < end; ) {
        done += (await handle.write(chunk, done, end - done, offsetBytes + done)).bytesWritten;
      }
    }
    at = end;
  }
}

/** A table of an image. To wait for one of the file system's threads takes several times as long as to read it. */
const SMALL_READ_BYTES = 64 * 1024;
/** After so many calls the event loop has its turn, with its signals and timers. */
const CALLS_IN_A_ROW = 32;
/** A file system that takes so long for a call is not waited for again. */
const SLOW_MS = 10;
let mayBlock = false;
let callCount = 0;

/**
 * Lets small reads of files, and all writes, block the calling thread: for programs that have nothing else to do
 * meanwhile, and whose processors the file system's threads would take from those that compress.
 */
export function blockForFiles(): void {
  mayBlock = true;
}

/** For a file that is open: the call itself would refuse another in words of its own. */
function isToBlock({ fd }: FileHandle): boolean {
  return mayBlock && fd >= 0 && ++callCount % CALLS_IN_A_ROW !== 0;
}

function blocked<Result>(call: () => Result): Result {
  const startedMs = performance.now();
  try {
    return call();
  } finally {
    if (performance.now() - startedMs >= SLOW_MS) mayBlock = false;
  }
}

class FileSource implements ByteSource {
  readonly name: string;
  readonly lengthBytes: number;
  readonly #handle: FileHandle;
  readonly #modifiedMs: number;
  readonly allocatedRanges?: (from: number, to: number, signal?: AbortSignal) => AsyncGenerator<ByteRange>;

  constructor(
    name: string,
    handle: FileHandle,
    lengthBytes: number,
    modifiedMs: number,
    hasKnownHoles: boolean,
  ) {
    this.name = name;
    this.lengthBytes = lengthBytes;
    this.#handle = handle;
    this.#modifiedMs = modifiedMs;
    if (hasKnownHoles) this.allocatedRanges = (from, to, signal) => this.#ranges(from, to, signal);
  }

  async *#ranges(fromBytes: number, toBytes: number, signal?: AbortSignal): AsyncGenerator<ByteRange> {
    try {
      const endBytes = Math.min(toBytes, this.lengthBytes);
      yield* allocatedRangesOf(() => this.descriptor, fromBytes, endBytes, signal);
      // What was cut off the file looks like a hole at its end.
      if ((await this.#handle.stat()).size < endBytes) throw this.#shrank();
    } catch (error) {
      throw storeError(error, this.name);
    }
  }

  #shrank(): StoreError {
    return new StoreError('STORE_CHANGED', `${this.name} became shorter while it was read`, {
      where: this.name,
      hint: 'stop what writes to the file, then try again',
    });
  }

  /** -1 when it is closed. */
  get descriptor(): number {
    return this.#handle.fd;
  }

  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    let done = 0;
    while (done < into.length) {
      signal?.throwIfAborted();
      const readBytes = await this.#readSome(offsetBytes + done, into.subarray(done));
      if (readBytes === 0) throw this.#shrank();
      done += readBytes;
    }
  }

  /** Gives the number of bytes that were read: 0 at the end of the file. */
  async #readSome(offsetBytes: number, into: Uint8Array): Promise<number> {
    try {
      return into.length <= SMALL_READ_BYTES && isToBlock(this.#handle)
        ? blocked(() => readSync(this.descriptor, into, 0, into.length, offsetBytes))
        : (await this.#handle.read(into, 0, into.length, offsetBytes)).bytesRead;
    } catch (error) {
      throw storeError(error, this.name);
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** Throws STORE_CHANGED when the file was written to since it was opened. */
  async requireUnchanged(): Promise<void> {
    const now = await this.#handle.stat().catch((error) => {
      throw storeError(error, this.name);
    });
    if (now.mtimeMs === this.#modifiedMs && (now.size === this.lengthBytes || now.isBlockDevice())) return;
    throw new StoreError('STORE_CHANGED', `${this.name} was changed while it was read`, {
      where: this.name,
      hint: 'stop what writes to the file, then try again',
    });
  }
}

/** Throws STORE_CHANGED when `source` is a file that was written to since it was opened. */
export async function requireUnchanged(source: ByteSource): Promise<void> {
  if (source instanceof FileSource) await source.requireUnchanged();
}

/** The descriptor of a file that is open for reading; undefined for any other source, and when it is closed. */
export function fileDescriptorOf(source: ByteSource): number | undefined {
  return source instanceof FileSource ? openDescriptor(source.descriptor) : undefined;
}

/** The descriptor of a file that is being written; undefined for any other sink, and when it is closed. */
export function sinkDescriptorOf(sink: ByteSink): number | undefined {
  const handle = sinkHandles.get(sink);
  return handle === undefined ? undefined : openDescriptor(handle.fd);
}

const sinkHandles = new WeakMap<ByteSink, FileHandle>();

function openDescriptor(descriptor: number): number | undefined {
  return descriptor < 0 ? undefined : descriptor;
}

export interface FileSinkOptions {
  /** Looks at the finished file, whole and durable, before it gets its name. When it throws, it never does. */
  readonly inspect?: (path: string) => Promise<void>;
}

/**
 * A new file, written beside its final name and renamed over it when complete and durable. An existing file
 * is replaced only then; STORE_EXISTS for anything else that stands there, such as a folder or a device.
 * Throws StoreError, with STORE_FULL when the disk is full.
 */
export async function fileSink(path: string, options: FileSinkOptions = {}): Promise<ByteSink> {
  const existing = await stat(path).catch(() => undefined);
  if (existing !== undefined && !existing.isFile()) {
    throw new StoreError('STORE_EXISTS', `${path} exists and is not a file`, {
      where: path,
      hint: 'choose the name of a file',
    });
  }
  const partial = join(dirname(path), `.${basename(path)}.${uniqueName()}.partial`);
  // What replaces a private file stays private.
  const mode = (existing?.mode ?? 0o666) & 0o777;
  const handle = await open(partial, 'wx', mode).catch((error) => {
    throw storeError(error, path);
  });
  let open_ = true;
  const closeOnce = async () => {
    if (open_) {
      open_ = false;
      await handle.close();
    }
  };
  const sink: ByteSink = {
    name: path,
    async write(offsetBytes, bytes, signal) {
      signal?.throwIfAborted();
      let done = 0;
      while (done < bytes.length) {
        done += await writeSome(handle, offsetBytes + done, bytes.subarray(done)).catch((error) => {
          throw storeError(error, path);
        });
      }
    },
    async finish(lengthBytes) {
      try {
        await handle.truncate(lengthBytes);
        await handle.sync();
        await closeOnce();
      } catch (error) {
        throw storeError(error, path);
      }
      await options.inspect?.(partial);
      try {
        await rename(partial, path);
        await syncFolder(dirname(path));
      } catch (error) {
        throw storeError(error, path);
      }
    },
    async abort() {
      await closeOnce();
      await rm(partial, { force: true });
    },
  };
  sinkHandles.set(sink, handle);
  return sink;
}

/** Gives the number of bytes that were written. */
async function writeSome(handle: FileHandle, offsetBytes: number, bytes: Uint8Array): Promise<number> {
  return isToBlock(handle)
    ? blocked(() => writeSync(handle.fd, bytes, 0, bytes.length, offsetBytes))
    : (await handle.write(bytes, 0, bytes.length, offsetBytes)).bytesWritten;
}

/** Makes a rename or a new name in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** A failure of a system call as a StoreError; anything else passes unchanged. */
export function storeError(error: unknown, where: string): unknown {
  if (!(error instanceof Error) || !('syscall' in error) || !('code' in error)) return error;
  switch (error.code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new StoreError('STORE_NOT_FOUND', `${where} does not exist`, { where, cause: error });
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new StoreError('STORE_DENIED', `${where}: permission denied`, { where, cause: error });
    case 'ENOSPC':
    case 'EDQUOT':
      return new StoreError('STORE_FULL', `no space left for ${where}`, {
        where,
        cause: error,
        hint: 'free some space or choose another place, then try again',
      });
    case 'EFBIG':
      return new StoreError('STORE_FULL', `${where} would be larger than a file may be there`, {
        where,
        cause: error,
        hint: 'choose a file system that takes larger files, or raise the limit of the process',
      });
    case 'EEXIST':
      return new StoreError('STORE_EXISTS', `${where} exists already`, { where, cause: error });
    default:
      return new StoreError('STORE_IO', `${where}: ${error.message}`, { where, cause: error });
  }
}

/** A block device reports size 0: its end is found by bisecting with one-byte reads. */
async function deviceLength(handle: FileHandle, path: string): Promise<number> {
  const readable = async (offset: number) => {
    const { bytesRead } = await handle.read(new Uint8Array(1), 0, 1, offset).catch((error) => {
      throw storeError(error, path);
    });
    return bytesRead === 1;
  };
  let low = 0;
  let high = 2 ** 46;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (await readable(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
