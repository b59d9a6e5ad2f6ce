import { byteChunks } from '@gantry/disk';
import { newStoredName, type ObjectStore, type PutOptions, type StoredPiece } from '@gantry/storage';
import type { Logger } from '../logger.ts';
import {
  ChecksumComputation,
  type ChecksumName,
  type Checksums,
  checksumNames,
  counted,
} from './checksums.ts';
import { DomainError } from './errors.ts';

export interface StageOptions extends Omit<PutOptions, 'md5'> {
  /** Of the bytes, as the sender computed them: compared before they are used. */
  readonly expected?: Checksums | undefined;
  /** To compute besides those. */
  readonly checksums?: readonly ChecksumName[] | undefined;
  /** Refused with TOO_LARGE above it. */
  readonly maxBytes?: number | undefined;
  /** Compute the checksums of what was stored, read back, instead of what arrives. */
  readonly readsBack?: boolean | undefined;
  /** Take the MD5 as the ETag where it is known, as S3's clients expect of an object that was put at once. */
  readonly md5Etag?: boolean | undefined;
}

/** Bytes that are stored and that nothing refers to yet. */
export interface StagedBytes extends StoredPiece {
  readonly etag: string;
  /** Those that were expected or asked for. */
  readonly checksums: Checksums;
}

/** Bytes in the object store, on their way into the catalogue and out of it. */
export class StoredBytes {
  readonly store: ObjectStore;
  readonly #logger: Logger;

  constructor(store: ObjectStore, logger: Logger) {
    this.store = store;
    this.#logger = logger;
  }

  /**
   * Stores bytes, durable when it returns. Whoever stages them refers to them in the catalogue, or discards them.
   * Throws UPLOAD_INCOMPLETE for another length than was expected, INVALID for another checksum, TOO_LARGE.
   */
  async stage(body: AsyncIterable<Uint8Array>, options: StageOptions = {}): Promise<StagedBytes> {
    const { expected = {}, checksums = [], md5Etag = false, readsBack = false, maxBytes, ...put } = options;
    requireBelow(put.expectedBytes ?? 0, maxBytes);
    const name = newStoredName();
    const wanted = checksumNames.filter((each) => expected[each] !== undefined || checksums.includes(each));
    const computation = new ChecksumComputation(wanted);
    const bounded = maxBytes === undefined ? body : atMost(body, maxBytes);
    const isCounted = wanted.length > 0 && !readsBack;
    const chunks = isCounted ? counted(bounded, computation) : bounded;
    const { lengthBytes } = await this.store.put(name, chunks, put);
    try {
      if (put.expectedBytes !== undefined && lengthBytes !== put.expectedBytes) {
        throw new DomainError('UPLOAD_INCOMPLETE', `${lengthBytes} of ${put.expectedBytes} bytes arrived`);
      }
      if (readsBack) await this.#readBack({ name, lengthBytes }, computation, put.signal);
      const computed = computation.digest();
      requireSame(computed, expected);
      const md5 = Buffer.from(computed.md5 ?? '', 'base64').toString('hex');
      const etag = md5Etag && md5 !== '' ? md5 : newEtag(1);
      return { name, lengthBytes, etag, checksums: computed };
    } catch (error) {
      await this.discard([name]);
      throw error;
    }
  }

  async #readBack(piece: StoredPiece, computation: ChecksumComputation, signal?: AbortSignal): Promise<void> {
    const source = await this.store.open([piece]);
    try {
      for await (const chunk of byteChunks(source, 0, signal)) computation.update(chunk);
    } finally {
      await source.close();
    }
  }

  /**
   * After a write to the catalogue failed: removes the bytes when it was refused. After any other failure, such as
   * a connection lost while the transaction was committed, it may have been written all the same; then they stay,
   * and the next start's sweep decides.
   */
  async discardUnlessWritten(names: readonly string[], error: unknown): Promise<void> {
    if (error instanceof DomainError) await this.discard(names);
  }

  /** Removes bytes that nothing refers to any more. What fails is found by the next start's sweep. */
  async discard(names: readonly string[]): Promise<void> {
    try {
      await this.store.delete(names);
    } catch (error) {
      this.#logger.warn(
        { err: error, names: names.slice(0, 10) },
        'bytes that are not needed were not deleted',
      );
    }
  }
}

function requireBelow(lengthBytes: number, maxBytes: number | undefined): void {
  if (maxBytes === undefined || lengthBytes <= maxBytes) return;
  throw new DomainError('TOO_LARGE', `these bytes may be at most ${maxBytes}`, {
    hint: 'upload the object in parts',
  });
}

async function* atMost(
  chunks: AsyncIterable<Uint8Array>,
  maxBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let lengthBytes = 0;
  for await (const chunk of chunks) {
    lengthBytes += chunk.length;
    requireBelow(lengthBytes, maxBytes);
    yield chunk;
  }
}

function requireSame(computed: Checksums, expected: Checksums): void {
  for (const name of checksumNames) {
    if (expected[name] === undefined || expected[name] === computed[name]) continue;
    const what = `the bytes that arrived have the ${name.toUpperCase()} ${computed[name]}, not ${expected[name]}`;
    const subject = name === 'md5' ? 'md5' : 'checksum';
    throw new DomainError('INVALID', what, { hint: 'send them again', subject });
  }
}

/**
 * A new ETag, without quotes: random, because a hash would be the slowest step of an upload. The count after the
 * hyphen tells S3's clients that it is no MD5, as S3 does for objects uploaded in parts.
 */
export function newEtag(partCount: number): string {
  return `${newStoredName()}-${partCount}`;
}
