import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memorySource } from '../../io/memory.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import { rawDisk } from '../raw/format.ts';
import { qcow2Stream } from './stream.ts';

const MIB = 1024 * 1024;

/** Noise, text and zeros by turns, in stretches that fit no cluster. */
function mixedBytes(): Uint8Array {
  const bytes = new Uint8Array(24 * MIB + 512);
  let state = 7;
  for (let i = 0; i < bytes.length; i++) {
    const stretch = Math.floor(i / 300_007) % 3;
    if (stretch === 0) continue;
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = stretch === 1 ? state >>> 24 : (i >> 11) & 0xff;
  }
  return bytes;
}

async function run(stream: ImageStream, file: Buffer, resumeFrom?: Uint8Array): Promise<Uint8Array[]> {
  const checkpoints: Uint8Array[] = [];
  for await (const chunk of stream.chunks(resumeFrom === undefined ? {} : { resumeFrom })) {
    file.set(chunk.bytes, chunk.offsetBytes);
    if (chunk.checkpoint !== undefined) checkpoints.push(chunk.checkpoint());
  }
  return checkpoints;
}

for (const [compression, clusterBytes] of [
  ['zlib', 65536],
  ['zstd', 65536],
  ['zstd', 4096],
] as const) {
  test(`a ${compression} stream of clusters of ${clusterBytes} goes on from any checkpoint to the same file`, async () => {
    const disk = rawDisk(memorySource(mixedBytes()));
    const plan = () => qcow2Stream(disk, { version: 3, clusterBytes, compression, windowBits: 15 });
    const stream = await plan();
    const whole = Buffer.alloc(stream.maximumLengthBytes);
    const checkpoints = await run(stream, whole);
    assert.ok(checkpoints.length > 5);
    for (const checkpoint of checkpoints) {
      const rest = Buffer.from(whole);
      const written: number[] = [];
      for await (const chunk of (await plan()).chunks({ resumeFrom: checkpoint })) {
        written.push(chunk.offsetBytes);
        assert.ok(
          rest.subarray(chunk.offsetBytes, chunk.offsetBytes + chunk.bytes.length).equals(chunk.bytes),
        );
      }
      assert.ok(written.includes(0), 'the front is written last, whole');
    }
    assert.ok(
      (await plan().then((again) => Array.fromAsync(again.chunks({ resumeFrom: checkpoints.at(-1)! }))))
        .length < 5,
    );
  });
}
