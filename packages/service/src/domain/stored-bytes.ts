import { newStoredName, type ObjectStore, type PutOptions, type StoredPiece } from '@gantry/storage';
import type { Logger } from '../logger.ts';
import { DomainError } from './errors.ts';

export interface StageOptions extends Omit<PutOptions, 'md5'> {
  /** Of the bytes, as the sender computed it, in hex: compared before they are used. */
  readonly expectedMd5?: string | undefined;
  /** Take the MD5 as the ETag, as S3's clients expect of an object that was put at once. */
  readonly md5Etag?: boolean | undefined;
}

/** Bytes that are stored and that nothing refers to yet. */
export interface StagedBytes extends StoredPiece {
  readonly etag: string;
}

/** Bytes in the object store, on their way into the catalogue and out of it. */
export class StoredBytes {
  readonly store: ObjectStore;
  readonly #logger: Logger;

  constructor(store: ObjectStore, logger: Logger) {
    this.store = store;
    this.#logger = logger;
  }

  /** Stores bytes, durable when it returns. Whoever stages them refers to them in the catalogue, or discards them. */
  async stage(body: AsyncIterable<Uint8Array>, options: StageOptions = {}): Promise<StagedBytes> {
    const { expectedMd5, md5Etag, ...put } = options;
    const name = newStoredName();
    const md5 = expectedMd5 !== undefined || md5Etag === true;
    const stored = await this.store.put(name, body, { ...put, md5 });
    const { lengthBytes } = stored;
    if (put.expectedBytes !== undefined && lengthBytes !== put.expectedBytes) {
      await this.discard([name]);
      throw new DomainError('UPLOAD_INCOMPLETE', `${lengthBytes} of ${put.expectedBytes} bytes arrived`);
    }
    if (expectedMd5 !== undefined && stored.md5 !== expectedMd5) {
      await this.discard([name]);
      throw new DomainError(
        'INVALID',
        `the bytes that arrived have the MD5 ${stored.md5}, not ${expectedMd5}`,
        {
          hint: 'send them again',
        },
      );
    }
    return { name, lengthBytes, etag: stored.md5 ?? newEtag(1) };
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

/**
 * A new ETag, without quotes: random, because a hash would be the slowest step of an upload. The count after the
 * hyphen tells S3's clients that it is no MD5, as S3 does for objects uploaded in parts.
 */
export function newEtag(partCount: number): string {
  return `${newStoredName()}-${partCount}`;
}
