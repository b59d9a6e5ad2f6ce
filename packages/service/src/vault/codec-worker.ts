import { parentPort, workerData } from 'node:worker_threads';
import { BLOCK_BYTES, hashBlock, packBlock, RECORD_LIMIT_BYTES, unpackBlock } from './block-record.ts';

/**
 * What a thread of the codec is asked to do with a slot, BLOCK_BYTES of guest bytes and then the record. The
 * slots are in a SharedArrayBuffer, which the thread is given as its workerData.
 */
export interface CodecTask {
  readonly kind: 'hash' | 'pack' | 'unpack';
  readonly offsetBytes: number;
}

/** `length` is that of a packed record; `fault` tells why a record was not unpacked. */
export interface CodecAnswer {
  readonly length?: number;
  readonly fault?: string | undefined;
  readonly error?: unknown;
}

parentPort?.on('message', (task: CodecTask) => {
  let answer: CodecAnswer;
  try {
    answer = run(task);
  } catch (error) {
    answer = { error };
  }
  parentPort?.postMessage(answer);
});

function run({ kind, offsetBytes }: CodecTask): CodecAnswer {
  const memory: SharedArrayBuffer = workerData;
  const plain = new Uint8Array(memory, offsetBytes, BLOCK_BYTES);
  const record = new Uint8Array(memory, offsetBytes + BLOCK_BYTES, RECORD_LIMIT_BYTES);
  switch (kind) {
    case 'hash':
      hashBlock(plain, record);
      return {};
    case 'pack':
      return { length: packBlock(plain, record) };
    case 'unpack':
      return { fault: unpackBlock(record, plain) };
  }
}
