import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { StoreError, storeError } from '@gantry/disk';
import { usageError } from '../errors/command-error.ts';

const CHUNK_BYTES = 1024 * 1024;

/** A range of a local file as the body of a request. */
export interface FileRange {
  readonly lengthBytes: number;
  bytes(): AsyncGenerator<Uint8Array, void, undefined>;
}

/** A file on its way to a service. It must stay as it is until it is there. */
export class LocalFile {
  readonly path: string;
  readonly lengthBytes: number;
  /** Differs when the file is another one or was written to: device, number, size and time of its change. */
  readonly identity: string;
  readonly #handle: FileHandle;
  readonly #signal: AbortSignal;

  private constructor(path: string, handle: FileHandle, identity: Identity, signal: AbortSignal) {
    this.path = path;
    this.lengthBytes = identity.lengthBytes;
    this.identity = identity.text;
    this.#handle = handle;
    this.#signal = signal;
  }

  static async open(path: string, signal: AbortSignal): Promise<LocalFile> {
    const handle = await open(path, 'r').catch((error) => {
      throw storeError(error, path);
    });
    try {
      return new LocalFile(path, handle, await identityOf(handle, path), signal);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** `onBytes` is told of every chunk that was handed over. */
  range(offsetBytes: number, lengthBytes: number, onBytes: (count: number) => void = () => {}): FileRange {
    const bytes = async function* (this: LocalFile): AsyncGenerator<Uint8Array, void, undefined> {
      for (let at = 0; at < lengthBytes; ) {
        const chunk = await this.#read(offsetBytes + at, Math.min(CHUNK_BYTES, lengthBytes - at));
        yield chunk;
        at += chunk.length;
        onBytes(chunk.length);
      }
    };
    return { lengthBytes, bytes: bytes.bind(this) };
  }

  async md5(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    const hash = createHash('md5');
    for await (const chunk of this.range(offsetBytes, lengthBytes).bytes()) hash.update(chunk);
    return hash.digest();
  }

  /** Throws STORE_CHANGED when the file was written to since it was opened. */
  async requireUnchanged(): Promise<void> {
    if ((await identityOf(this.#handle, this.path)).text !== this.identity) throw changed(this.path);
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async #read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    this.#signal.throwIfAborted();
    const chunk = new Uint8Array(lengthBytes);
    const { bytesRead } = await this.#handle.read(chunk, 0, lengthBytes, offsetBytes).catch((error) => {
      throw storeError(error, this.path);
    });
    if (bytesRead === 0) throw changed(this.path);
    return chunk.subarray(0, bytesRead);
  }
}

interface Identity {
  readonly lengthBytes: number;
  readonly text: string;
}

async function identityOf(handle: FileHandle, path: string): Promise<Identity> {
  const stat = await handle.stat({ bigint: true });
  if (!stat.isFile()) {
    throw usageError(`${path} is not a file`, 'only files are sent; copy it into one first');
  }
  const { dev, ino, size, mtimeNs } = stat;
  return { lengthBytes: Number(size), text: `${dev}:${ino}:${size}:${mtimeNs}` };
}

function changed(path: string): StoreError {
  return new StoreError('STORE_CHANGED', `${path} was changed while it was sent`, {
    where: path,
    hint: 'stop what writes to the file, then try again',
  });
}
