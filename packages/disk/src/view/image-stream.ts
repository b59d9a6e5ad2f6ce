import type { ProgressListener } from '../convert/progress.ts';

export interface StreamChunk {
  readonly offsetBytes: number;
  /** Valid until the next chunk is asked for. May be a part of shared memory, which not every interface takes. */
  readonly bytes: Uint8Array;
  /**
   * What another run needs to go on right behind this chunk; absent where none can. To be asked before the
   * next chunk is.
   */
  readonly checkpoint?: () => Uint8Array;
}

export interface StreamRunOptions {
  /** A chunk's checkpoint of an earlier run of the same plan: the run begins with the chunk that followed. */
  readonly resumeFrom?: Uint8Array | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/**
 * An output whose length is known only at its end: the compressed forms. Chunks come in file order, each
 * where the one before ended, the first at `frontBytes`; after them, when `frontBytes` is not 0, chunks that
 * fill [0, frontBytes) in order. With `frontBytes` 0 it can be written to a pipe.
 */
export interface ImageStream {
  readonly kind: 'stream';
  readonly format: string;
  readonly frontBytes: number;
  /** No run is longer than this. */
  readonly maximumLengthBytes: number;
  chunks(options: StreamRunOptions): AsyncGenerator<StreamChunk, void, undefined>;
}
