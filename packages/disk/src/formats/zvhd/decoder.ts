import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { decompress } from '../../io/node-codec.ts';
import { INFLATE_WINDOW_BYTES, inflatePart } from '../../io/node-inflate.ts';
import { giveBack } from './decoded-blocks.ts';
import { titles, type ZvhdHeader } from './header.ts';
import { RESTART_COUNT_MAX } from './limits.ts';
import {
  hasRecordEnd,
  parseRecordHead,
  RECORD_HEAD_BYTES,
  recordBytesOf,
  recordStructure,
} from './record.ts';
import type { RecordList } from './record-list.ts';

/** RFC 1950: the first payload begins with it, the stream has no other mark. */
const ZLIB_HEADER_BYTES = 2;
/** Windows behind the blocks that were decompressed last. */
const WINDOWS_KEPT = 8;

/** Decompresses the blocks of a file, by the rank of their records. */
export class BlockDecoder {
  readonly #source: ByteSource;
  readonly #header: ZvhdHeader;
  readonly #list: RecordList;
  /** A ZVHD whose blocks reach back to the ones before them: each needs the end of the block before it. */
  #isContinuous = false;
  /** By the rank of the block that they stand before; the oldest first. Undefined where that was not to be had. */
  readonly #windows = new Map<number, Promise<Uint8Array | undefined>>();
  #restartCount = 0;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(source: ByteSource, header: ZvhdHeader, list: RecordList) {
    this.#source = source;
    this.#header = header;
    this.#list = list;
  }

  /** The block of a record, whole, in memory that is the caller's. Throws IMAGE_MALFORMED for damage. */
  async decode(rank: number): Promise<Uint8Array> {
    const reading = this.payload(rank);
    // Its failure is seen when its turn comes; until then it is no unhandled rejection.
    reading.catch(() => {});
    // In the order that they were asked for, whichever is read first.
    const plain = await (this.#isContinuous
      ? this.#inTurn(async () => this.#decodeContinued(rank, await reading))
      : this.#decodePayload(rank, await reading));
    giveBack(await reading);
    return plain;
  }

  async #decodePayload(rank: number, payload: Uint8Array): Promise<Uint8Array> {
    const { kind, compression, blockBytes } = this.#header;
    if (compression === 'zstd') {
      const structure = recordStructure(kind);
      return decompress(compression, payload, blockBytes, structure, this.#list.offsetBytes(rank));
    }
    if (kind === 'zvhd2') {
      const plain = await inflatePart(this.#deflated(rank, payload), blockBytes);
      return plain ?? this.#refuseDamage(rank);
    }
    const plain = await this.#keepWindow(rank, inflatePart(this.#deflated(rank, payload), blockBytes));
    if (plain !== undefined) return plain;
    if (rank === 0) this.#refuseDamage(rank);
    this.#isContinuous = true;
    return this.#inTurn(() => this.#decodeContinued(rank, payload));
  }

  /** What a record holds, its head and its end checked. */
  async payload(rank: number): Promise<Uint8Array> {
    const offsetBytes = this.#list.offsetBytes(rank);
    const { kind, blockBytes } = this.#header;
    const structure = recordStructure(kind);
    const lengthBytes = this.#list.lengthBytes(rank);
    const record = await readStructure(this.#source, offsetBytes, lengthBytes, structure);
    const head = parseRecordHead(record, kind, blockBytes, offsetBytes);
    const refuse = (message: string) =>
      new ImageError('IMAGE_MALFORMED', `${titles[kind]}: ${message}`, { structure, offsetBytes });
    if (head === undefined) throw refuse('what stands here is no block record');
    if (head.block !== this.#list.block(rank))
      throw refuse(`the record of block ${this.#list.block(rank)} says that it is of block ${head.block}`);
    if (recordBytesOf(head.payloadBytes) !== lengthBytes)
      throw refuse(`the record of block ${head.block} has another length than the index says`);
    if (!hasRecordEnd(record)) throw refuse(`the record of block ${head.block} has no end`);
    return record.subarray(RECORD_HEAD_BYTES, RECORD_HEAD_BYTES + head.payloadBytes);
  }

  #inTurn(task: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const run = this.#turn.then(task);
    this.#turn = run.catch(() => {});
    return run;
  }

  /** The payload without the header of its stream: every one of a ZVHD2 has one, of a ZVHD the first. */
  #deflated(rank: number, payload: Uint8Array): Uint8Array {
    if (rank > 0 && this.#header.kind === 'zvhd') return payload;
    const [method = 0, flags = 0] = payload;
    // Deflate, a right check sum, no preset dictionary.
    if (method % 16 !== 8 || (method * 256 + flags) % 31 !== 0 || (flags & 0x20) !== 0)
      this.#refuseDamage(rank);
    return payload.subarray(ZLIB_HEADER_BYTES);
  }

  async #decodeContinued(rank: number, payload: Uint8Array): Promise<Uint8Array> {
    let at = rank;
    let window = await this.#windows.get(at);
    while (at > 0 && window === undefined) window = await this.#windows.get(--at);
    if (at === 0 && rank > 0) this.#restart(rank);
    for (; at < rank; at++) {
      window = (await this.#inflate(at, await this.payload(at), window)).slice(-INFLATE_WINDOW_BYTES);
    }
    return this.#inflate(rank, payload, window);
  }

  async #inflate(rank: number, payload: Uint8Array, window: Uint8Array | undefined): Promise<Uint8Array> {
    const inflated = inflatePart(this.#deflated(rank, payload), this.#header.blockBytes, window);
    const plain = await this.#keepWindow(rank, inflated);
    return plain ?? this.#refuseDamage(rank);
  }

  #keepWindow(rank: number, plain: Promise<Uint8Array | undefined>): Promise<Uint8Array | undefined> {
    this.#windows.delete(rank + 1);
    this.#windows.set(
      rank + 1,
      plain.then((bytes) => bytes?.slice(-INFLATE_WINDOW_BYTES)),
    );
    for (const oldest of this.#windows.keys()) {
      if (this.#windows.size <= WINDOWS_KEPT) break;
      this.#windows.delete(oldest);
    }
    return plain;
  }

  #restart(rank: number): void {
    if (this.#source.sequential !== true && this.#restartCount++ < RESTART_COUNT_MAX) return;
    throw new ImageError(
      'IMAGE_NOT_SEQUENTIAL',
      'the blocks of this ZVHD are one compressed stream, which can only be read front to back',
      {
        structure: recordStructure('zvhd'),
        offsetBytes: this.#list.offsetBytes(rank),
        hint: 'convert it to another format first, such as qcow2, and read that',
      },
    );
  }

  #refuseDamage(rank: number): never {
    const structure = recordStructure(this.#header.kind);
    throw new ImageError(
      'IMAGE_MALFORMED',
      `${structure}: zlib data of block ${this.#list.block(rank)} does not decompress to a block`,
      { structure, offsetBytes: this.#list.offsetBytes(rank) },
    );
  }
}
