import assert from 'node:assert/strict';
import { test } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { zstdFrameLength } from './zstd-frame.ts';

const noise = (length: number): Uint8Array => {
  let state = 1;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return state >>> 16;
  });
};

/** All zero (RLE blocks), text (compressed blocks), noise (raw blocks), of lengths around every field width. */
const contents: readonly Uint8Array[] = [0, 1, 255, 256, 65535, 65791, 65792, 300_000].flatMap((length) => [
  new Uint8Array(length),
  Uint8Array.from({ length }, (_, i) => (i * 7) >> 5),
  noise(length),
]);

/** A single frame; with `streamed` the writer does not know the length, so the header does not carry it. */
function frameOf(bytes: Uint8Array, checksum: boolean, streamed: boolean): Uint8Array {
  const params = {
    [zlib.constants.ZSTD_c_compressionLevel]: 1,
    [zlib.constants.ZSTD_c_checksumFlag]: checksum ? 1 : 0,
    [zlib.constants.ZSTD_c_contentSizeFlag]: streamed ? 0 : 1,
  };
  return zlib.zstdCompressSync(bytes, { params, ...(streamed ? {} : { pledgedSrcSize: bytes.length }) });
}

test('the length of a frame is found whatever its header and its blocks are', () => {
  const shapes = new Set<number>();
  for (const content of contents) {
    for (const checksum of [false, true]) {
      for (const streamed of [false, true]) {
        const frame = frameOf(content, checksum, streamed);
        shapes.add(frame[4] ?? 0);
        assert.equal(zstdFrameLength(frame), frame.length);
        // What follows does not matter: a sector's rest, or the next frame.
        assert.equal(zstdFrameLength(Buffer.concat([frame, noise(600)])), frame.length);
        assert.equal(zstdFrameLength(Buffer.concat([frame, frame])), frame.length);
      }
    }
  }
  const fields = [...shapes].map((byte) => ({ size: byte >> 6, single: (byte & 0x20) !== 0, sum: byte & 4 }));
  for (const size of [0, 1, 2]) assert.ok(fields.some((field) => field.size === size));
  for (const single of [true, false]) assert.ok(fields.some((field) => field.single === single));
  for (const sum of [0, 4]) assert.ok(fields.some((field) => field.sum === sum));
});

test('a header with an 8-byte size and a dictionary of any width is measured', () => {
  // RFC 8878, section 3.1.1.1: an empty last raw block after each header.
  for (const [dictionaryFlag, dictionaryBytes] of [0, 1, 2, 4].entries()) {
    for (const [sizeFlag, sizeBytes] of [0, 2, 4, 8].entries()) {
      for (const single of [false, true]) {
        const descriptor = sizeFlag * 64 + (single ? 0x20 : 0) + dictionaryFlag;
        const rest = (single ? 0 : 1) + dictionaryBytes + (sizeFlag === 0 && single ? 1 : sizeBytes);
        const frame = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, descriptor, ...new Uint8Array(rest), 1, 0, 0);
        assert.equal(zstdFrameLength(frame), frame.length);
      }
    }
  }
});

test('a frame that is cut anywhere has no length', () => {
  const frame = frameOf(noise(300), true, false);
  for (let length = 0; length < frame.length; length++) {
    assert.equal(zstdFrameLength(frame.subarray(0, length)), undefined);
  }
});

test('a reserved block type and a wrong magic have no length', () => {
  const reserved = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0x07, 0, 0);
  assert.equal(zstdFrameLength(reserved), undefined);
  assert.equal(zstdFrameLength(noise(64)), undefined);
});

test('any bytes after the magic end the search inside them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (rest) => {
      const bytes = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, ...rest);
      const length = zstdFrameLength(bytes);
      assert.ok(length === undefined || (length >= 9 && length <= bytes.length));
    }),
  );
});
