import type { ByteSource, ImageStream } from '@gantry/disk';
import { newStoredName, type ObjectStore, type StoredPiece } from '@gantry/storage';
import { z } from 'zod';
import type { JobContext } from '../jobs/handler.ts';

const storedPiece = z.object({ name: z.string(), lengthBytes: z.number().int() });
export const exportCheckpoint = z.object({
  pieces: z.array(storedPiece),
  /** Piece that holds where a stream goes on. */
  state: storedPiece.optional(),
});
export type ExportCheckpoint = z.infer<typeof exportCheckpoint>;

/** A part of stored bytes: what a kill costs at most. */
const PART_BYTES: number = 64 * 1024 * 1024;
const READ_BYTES: number = 1024 * 1024;

/** Writes an object piece by piece; after each, another attempt can go on from there. */
export class PieceWriter {
  readonly #store: ObjectStore;
  readonly #context: JobContext;
  readonly pieces: StoredPiece[];
  #state: StoredPiece | undefined;

  constructor(store: ObjectStore, context: JobContext, saved: ExportCheckpoint) {
    this.#store = store;
    this.#context = context;
    this.pieces = [...saved.pieces];
    this.#state = saved.state;
  }

  get #writtenBytes(): number {
    return this.pieces.reduce((sum, piece) => sum + piece.lengthBytes, 0);
  }

  /** What no object needs: where a stream went on. */
  get stateNames(): string[] {
    return this.#state === undefined ? [] : [this.#state.name];
  }

  /** A source of known length, from behind the pieces that are there already. */
  async writeSource(source: ByteSource): Promise<void> {
    const { signal } = this.#context;
    await this.#context.phase('write', source.lengthBytes, this.#writtenBytes);
    for (let from = this.#writtenBytes; from < source.lengthBytes; from = this.#writtenBytes) {
      const to = Math.min(source.lengthBytes, from + PART_BYTES);
      const onBytes = (doneBytes: number) => this.#context.progress(from + doneBytes);
      this.pieces.push(await this.#put(readRange(source, from, to, signal), onBytes));
      await this.#save();
    }
  }

  /** A stream: its body in pieces, then its front, which stands before them. */
  async writeStream(stream: ImageStream, virtualSizeBytes: number): Promise<void> {
    const { signal } = this.#context;
    await this.#context.phase('compress', virtualSizeBytes);
    const resumeFrom = this.#state === undefined ? undefined : await this.#readState(this.#state);
    const onProgress = ({ doneBytes }: { doneBytes: number }) => this.#context.progress(doneBytes);
    let part: Uint8Array[] = [];
    let partBytes = 0;
    const front: Uint8Array[] = [];
    for await (const chunk of stream.chunks({ signal, onProgress, ...(resumeFrom && { resumeFrom }) })) {
      if (chunk.offsetBytes < stream.frontBytes) {
        front.push(chunk.bytes.slice());
        continue;
      }
      part.push(chunk.bytes.slice());
      partBytes += chunk.bytes.length;
      if (partBytes < PART_BYTES || chunk.checkpoint === undefined) continue;
      this.pieces.push(await this.#put(part));
      await this.#save(chunk.checkpoint());
      part = [];
      partBytes = 0;
    }
    if (part.length > 0) this.pieces.push(await this.#put(part));
    if (front.length > 0) this.pieces.unshift(await this.#put(front));
  }

  /** Removes everything that was written. */
  async discard(): Promise<void> {
    await this.#store.delete([...this.pieces.map((piece) => piece.name), ...this.stateNames]);
  }

  async #put(chunks: Chunks, onBytes?: (doneBytes: number) => void): Promise<StoredPiece> {
    const name = newStoredName();
    const options = { signal: this.#context.signal, onBytes };
    const { lengthBytes } = await this.#store.put(name, toAsync(chunks), options);
    return { name, lengthBytes };
  }

  async #save(state?: Uint8Array): Promise<void> {
    const before = this.#state;
    if (state !== undefined) this.#state = await this.#put([state]);
    const pieces = this.pieces.map(toJson);
    await this.#context.saveCheckpoint({ pieces, ...(this.#state && { state: toJson(this.#state) }) });
    if (before !== undefined && before !== this.#state) await this.#store.delete([before.name]);
  }

  async #readState(piece: StoredPiece): Promise<Uint8Array> {
    const source = await this.#store.open([piece]);
    try {
      const bytes = new Uint8Array(piece.lengthBytes);
      await source.read(0, bytes);
      return bytes;
    } finally {
      await source.close();
    }
  }
}

type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

function toJson({ name, lengthBytes }: StoredPiece): { name: string; lengthBytes: number } {
  return { name, lengthBytes };
}

/** The bytes [from, to) of a source, some at a time. */
export async function* readRange(
  source: ByteSource,
  from: number,
  to: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = from; at < to; at += READ_BYTES) {
    const bytes = new Uint8Array(Math.min(READ_BYTES, to - at));
    await source.read(at, bytes, signal);
    yield bytes;
  }
}

async function* toAsync(chunks: Chunks): AsyncGenerator<Uint8Array, void, undefined> {
  yield* chunks;
}
