import { parentPort } from 'node:worker_threads';
import type { CodecAnswer, CodecTask } from './node-codec-threads.ts';
import { compressInto } from './node-zlib.ts';

// A thread of the codec: one task after the other, in memory that it shares with the asker.
parentPort?.on('message', (task: CodecTask) => parentPort?.postMessage(run(task)));

function run({ kind, input, output, options }: CodecTask): CodecAnswer {
  try {
    return { length: compressInto(output, kind, input, options) };
  } catch (error) {
    return { error };
  }
}
