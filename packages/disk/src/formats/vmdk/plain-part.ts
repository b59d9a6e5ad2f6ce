import { sourceExtents } from '../../disk/source-runs.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import type { ExtentPart } from './extent-part.ts';
import type { GrainRun } from './runs.ts';

/** An extent whose bytes stand in a file as they are, from `startBytes`. The holes of the file are zeros. */
export function flatPart(source: ByteSource, startBytes: number, lengthBytes: number): ExtentPart {
  return {
    lengthBytes,
    source,
    async *runs(fromBytes, toBytes, signal) {
      for await (const extent of sourceExtents(source, startBytes, fromBytes, toBytes, signal)) {
        const { kind, offsetBytes, lengthBytes: runBytes } = extent;
        const run: GrainRun =
          kind === 'data'
            ? { kind, offsetBytes, lengthBytes: runBytes, fileOffsetBytes: startBytes + offsetBytes }
            : { kind: 'zero', offsetBytes, lengthBytes: runBytes };
        yield [run];
      }
    },
  };
}

/** An extent without a file: zeros, or what nobody may read. */
export function emptyPart(kind: 'zero' | 'denied', lengthBytes: number): ExtentPart {
  return {
    lengthBytes,
    async *runs(fromBytes, toBytes, signal) {
      signal?.throwIfAborted();
      yield [{ kind, offsetBytes: fromBytes, lengthBytes: toBytes - fromBytes }];
    },
  };
}
