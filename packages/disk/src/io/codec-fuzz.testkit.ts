// A program of node-accelerator.test.ts: damaged data for the decompressors of both tiers, many thousand times, in
// a process of its own, which a wrong step of native code would end. Prints what happened.

import assert from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';
import zlib from 'node:zlib';
import type { Compression } from './codec.ts';
import { accelerator, useAccelerator } from './node-accelerator.ts';
import { decompressInto } from './node-zlib.ts';

const caseCount = Number(process.argv[2]);
const GUARD = 0xee;
const GUARD_BYTES = 64;

const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 5), Buffer.alloc(16, 9));
let pool = Buffer.alloc(0);
let poolAt = 0;

/** Numbers below `limit` that are the same in every run. */
function random(limit: number): number {
  if (poolAt + 4 > pool.length) {
    pool = cipher.update(Buffer.alloc(65536));
    poolAt = 0;
  }
  poolAt += 4;
  return pool.readUInt32LE(poolAt - 4) % limit;
}

const plain = Buffer.concat([
  Buffer.alloc(1300, 'the quick brown fox jumps over the lazy dog '),
  cipher.update(Buffer.alloc(300)),
  Buffer.alloc(500),
]);

const seeds: { readonly kind: Compression; readonly bytes: Buffer }[] = [];
for (const level of [0, 1, 6, 9]) {
  for (const strategy of [0, 2, 3, 4]) {
    seeds.push({ kind: 'deflate-raw', bytes: zlib.deflateRawSync(plain, { level, strategy }) });
    seeds.push({ kind: 'zlib', bytes: zlib.deflateSync(plain, { level, strategy }) });
  }
}
for (const level of [1, 3, 10, 19]) {
  for (const checksum of [0, 1]) {
    const { ZSTD_c_compressionLevel, ZSTD_c_checksumFlag } = zlib.constants;
    const params = { [ZSTD_c_compressionLevel]: level, [ZSTD_c_checksumFlag]: checksum };
    seeds.push({ kind: 'zstd', bytes: zlib.zstdCompressSync(plain, { params }) });
  }
}

/** Bits turned, mostly where the tables stand; parts cut, moved or doubled; sometimes noise. */
function damaged(bytes: Buffer): Buffer {
  const made = Buffer.from(bytes);
  for (let i = random(4); i > 0; i--) {
    const at = random(random(2) === 0 ? Math.min(60, made.length) : made.length);
    made[at] = (made[at] ?? 0) ^ (1 << random(8));
  }
  switch (random(8)) {
    case 0:
      return made.subarray(0, random(made.length + 1));
    case 1:
      return made.copyWithin(random(made.length), random(made.length));
    case 2:
      return Buffer.concat([made.subarray(0, random(made.length)), made]);
    case 3:
      return made.fill(cipher.update(Buffer.alloc(40)), random(made.length));
    default:
      return made;
  }
}

/** What came out, or undefined when it was refused; checks that the bounds were kept to. */
function outcome(kind: Compression, bytes: Uint8Array, room: number): string | undefined {
  const memory = Buffer.alloc(room + GUARD_BYTES, GUARD);
  const target = memory.subarray(0, room);
  try {
    const { writtenBytes, usedBytes, isWhole } = decompressInto(target, kind, bytes);
    assert.ok(writtenBytes <= room && usedBytes <= bytes.length);
    return [writtenBytes, usedBytes, isWhole, zlib.crc32(target.subarray(0, writtenBytes))].join(' ');
  } catch (error) {
    assert.ok(error instanceof Error && !(error instanceof assert.AssertionError), String(error));
    return undefined;
  } finally {
    assert.ok(memory.subarray(room).every((byte) => byte === GUARD));
  }
}

let accepted = 0;
let refused = 0;
/** Taken by libdeflate and not by zlib: symbols that RFC 1951 reserves. */
let lenient = 0;
for (let i = 0; i < caseCount; i++) {
  const seed = seeds[random(seeds.length)] ?? assert.fail();
  const bytes = damaged(seed.bytes);
  const room = random(4) === 0 ? random(plain.length) : plain.length + random(20);
  useAccelerator('off');
  const node = outcome(seed.kind, bytes, room);
  useAccelerator('required');
  const native = outcome(seed.kind, bytes, room);
  // The addon alone, without what decides when it refuses: it gives undefined, or what it wrote.
  accelerator()?.decompressInto(new Uint8Array(room), seed.kind, bytes);
  if (node === undefined && native !== undefined && seed.kind !== 'zstd') lenient++;
  else assert.equal(native, node, `case ${i}`);
  if (node === undefined) refused++;
  else accepted++;
}
console.log(JSON.stringify({ accepted, refused, lenient }));
