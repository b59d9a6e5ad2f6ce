import { ImageError } from '../errors.ts';

// What node-unpack.ts gives, in a browser: gzip of one member, and no zstd.

export async function* unpackStream(
  kind: 'gzip' | 'zstd',
  input: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (kind === 'zstd') {
    throw new ImageError('IMAGE_UNSUPPORTED', 'there is no zstd in a browser', {
      structure: 'zstd data',
      hint: 'use Node, or the command',
    });
  }
  const chunks = input[Symbol.asyncIterator]();
  let failure: unknown;
  const packed = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      try {
        const { done, value } = await chunks.next();
        if (done === true) controller.close();
        // A copy: streams take no memory that is shared.
        else controller.enqueue(new Uint8Array(value));
      } catch (error) {
        failure = error;
        controller.error(error);
      }
    },
    async cancel() {
      await chunks.return?.();
    },
  });
  const reader = packed.pipeThrough(new DecompressionStream('gzip')).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } catch (error) {
    if (failure !== undefined) throw failure;
    throw new ImageError('IMAGE_MALFORMED', `the gzip data is damaged, or has several members (${error})`, {
      structure: 'gzip data',
    });
  } finally {
    await reader.cancel().catch(() => {});
  }
}
