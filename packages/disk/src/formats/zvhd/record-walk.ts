import { hasMagic } from '../../bytes/fields.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure, requireInside } from '../../io/byte-source.ts';
import { isCopyOf, magics, PAGE_BYTES, structureOf, titles, type ZvhdPage } from './header.ts';
import { FILE_BYTES_MAX, RECORD_COUNT_MAX } from './limits.ts';
import { parseRecordHead, RECORD_HEAD_BYTES, recordBytesOf, recordStructure } from './record.ts';
import { RecordList } from './record-list.ts';

/**
 * The records of a file one after the other, from their heads alone, as far as they were asked for. The header page
 * that follows them ends the walk.
 */
export class RecordWalk {
  readonly list: RecordList = new RecordList();
  readonly #source: ByteSource;
  readonly #first: ZvhdPage;
  #atBytes = PAGE_BYTES;
  #ended = false;
  #turn: Promise<void> = Promise.resolve();

  constructor(source: ByteSource, first: ZvhdPage) {
    this.#source = source;
    this.#first = first;
  }

  /** Where the walk is; when it has ended, the page behind the one that ended it. */
  get atBytes(): number {
    return this.#atBytes;
  }

  /** Makes the record of this block known; where there is none, the next one. */
  through(block: number, signal?: AbortSignal): Promise<void> {
    return this.#inTurn(async () => {
      while (!this.#ended && this.list.lastBlock < block) await this.#step(signal);
    });
  }

  toEnd(signal?: AbortSignal): Promise<void> {
    return this.through(Number.POSITIVE_INFINITY, signal);
  }

  #inTurn(task: () => Promise<void>): Promise<void> {
    const run = this.#turn.then(task);
    this.#turn = run.catch(() => {});
    return run;
  }

  async #step(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    const { kind, blockBytes, blockCount } = this.#first.header;
    const at = this.#atBytes;
    const structure = recordStructure(kind);
    const bytes = await readStructure(this.#source, at, RECORD_HEAD_BYTES, structure, signal);
    const head = parseRecordHead(bytes, kind, blockBytes, at);
    if (head === undefined) {
      if (!hasMagic(bytes, magics[kind])) throw this.#malformed('what stands here is no block record', at);
      return this.#end(signal);
    }
    const lengthBytes = recordBytesOf(head.payloadBytes);
    requireInside(this.#source, at, lengthBytes, structure);
    if (head.block >= blockCount)
      throw this.#malformed(`block ${head.block} is beyond the ${blockCount} of the disk`, at + 16);
    if (head.block <= this.list.lastBlock)
      throw this.#malformed(`block ${head.block} follows block ${this.list.lastBlock}`, at + 16);
    if (this.list.count === RECORD_COUNT_MAX || at > FILE_BYTES_MAX)
      throw this.#error('IMAGE_LIMIT', `the file has more than ${this.list.count} records, at ${at}`, at);
    this.list.add(head.block, at, lengthBytes);
    this.#atBytes = at + lengthBytes;
  }

  async #end(signal: AbortSignal | undefined): Promise<void> {
    const { kind } = this.#first.header;
    const bytes = await readStructure(this.#source, this.#atBytes, PAGE_BYTES, structureOf(kind), signal);
    if (!isCopyOf(this.#first, bytes))
      throw this.#malformed('the header behind the blocks is not the first one', this.#atBytes);
    this.#atBytes += PAGE_BYTES;
    // How long arriving bytes are is known when they have arrived.
    if (this.#source.openEnded !== true) this.requireEndOfFile();
    this.#ended = true;
  }

  /** Throws IMAGE_MALFORMED when something follows the page that ended the walk of a ZVHD. */
  requireEndOfFile(): void {
    if (this.#first.header.kind === 'zvhd' && this.#atBytes !== this.#source.lengthBytes)
      throw this.#malformed('something follows the end of the image', this.#atBytes);
  }

  #malformed(message: string, offsetBytes: number): ImageError {
    return this.#error('IMAGE_MALFORMED', message, offsetBytes);
  }

  #error(code: ImageErrorCode, message: string, offsetBytes: number): ImageError {
    const { kind } = this.#first.header;
    return new ImageError(code, `${titles[kind]}: ${message}`, {
      structure: recordStructure(kind),
      offsetBytes,
    });
  }
}
