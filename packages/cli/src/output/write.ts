import type { Writable } from 'node:stream';

/** The reader of our standard output went away (`| head`): no failure, there is just nothing left to say. */
export class OutputClosed extends Error {}

/** Writes and waits until it is handed over, so that a slow reader slows us down. */
export function writeAll(stream: Writable, chunk: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(chunk, (error) => {
      if (error === null || error === undefined) resolve();
      else reject(isClosedPipe(error) ? new OutputClosed('the reader went away', { cause: error }) : error);
    });
  });
}

function isClosedPipe(error: Error): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED';
}
