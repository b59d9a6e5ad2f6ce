import assert from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import zlib from 'node:zlib';
import { looksIncompressible } from './incompressible.ts';

const UNIT_BYTES = 65536;
const UNITS = 40;

/** Noise that is the same in every run. */
function noise(lengthBytes: number): Buffer {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16, 3));
  return cipher.update(Buffer.alloc(lengthBytes));
}

/** Text of this project. */
const text = Buffer.from(
  ['incompressible.ts', 'incompressible.test.ts', 'fields.ts', 'numbers.ts', 'zstd-frame.ts']
    .map((name) => readFileSync(new URL(name, import.meta.url), 'latin1'))
    .join(''),
);

function unitsOf(bytes: Uint8Array): Uint8Array[] {
  const count = Math.floor(bytes.length / UNIT_BYTES);
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * UNIT_BYTES, (i + 1) * UNIT_BYTES));
}

/** Noise, in every unit of which `change` has its way. */
function changedNoise(change: (unit: Buffer, index: number) => void): Uint8Array[] {
  const units = unitsOf(noise(UNITS * UNIT_BYTES));
  for (const [index, unit] of units.entries())
    change(Buffer.from(unit.buffer, unit.byteOffset, unit.length), index);
  return units;
}

/** The part that the better of two good compressors saves. */
function saving(unit: Uint8Array): number {
  const params = { [zlib.constants.ZSTD_c_compressionLevel]: 9 };
  const lengths = [zlib.deflateRawSync(unit, { level: 9 }), zlib.zstdCompressSync(unit, { params })].map(
    (packed) => packed.length,
  );
  return 1 - Math.min(...lengths) / unit.length;
}

function flagged(units: readonly Uint8Array[]): number {
  return units.filter(looksIncompressible).length;
}

const page = zlib.gzipSync(Buffer.concat(Array.from({ length: 4 }, () => noise(300_000))));
const encrypted = createCipheriv('aes-256-cbc', Buffer.alloc(32, 1), Buffer.alloc(16)).update(
  Buffer.alloc(UNITS * UNIT_BYTES, text),
);

for (const [name, bytes] of [
  ['random', noise(UNITS * UNIT_BYTES)],
  ['encrypted', encrypted],
  ['compressed', page],
] as const) {
  test(`${name} data is not worth compressing`, () => {
    const units = unitsOf(bytes);
    assert.ok(units.length > 10);
    assert.equal(flagged(units), units.length);
  });
}

const mixes: Record<string, (unit: Buffer, index: number) => void> = {
  '2 KiB of text': (unit, i) => unit.set(text.subarray(i * 50, i * 50 + 2048), (i * 1499) % 63000),
  'a KiB of zeros': (unit, i) => unit.fill(0, (i * 1499) % 64000, ((i * 1499) % 64000) + 1024),
  'a page that came before': (unit, i) => unit.copy(unit, 20_000 + i * 1001, i * 701, i * 701 + 4096),
  'a few lines of text in every page': (unit) => {
    for (let at = 100; at < unit.length; at += 4096)
      unit.set(text.subarray(at % 9000, (at % 9000) + 200), at);
  },
  'the same bytes in every page': (unit) => {
    for (let at = 4196; at < unit.length; at += 4096) unit.copy(unit, at, 100, 300);
  },
  'a zero in every eighth byte': (unit) => {
    for (let at = 3; at < unit.length; at += 8) unit[at] = 0;
  },
  'a second half of text': (unit) => unit.fill(text, unit.length / 2),
};

for (const [name, change] of Object.entries(mixes)) {
  test(`noise with ${name} is worth compressing`, () => {
    const units = changedNoise(change);
    assert.ok(units.every((unit) => saving(unit) > 0.005));
    assert.equal(flagged(units), 0);
  });
}

test('what is not worth compressing would not have become smaller by much more than one per cent', () => {
  for (let size = 32; size <= 4096; size *= 2) {
    const units = changedNoise((unit, i) => {
      unit.set(text.subarray(i * 37, i * 37 + size), (i * 997) % (UNIT_BYTES - size));
      unit.copy(unit, UNIT_BYTES - 2 * size - i, i, i + size);
    });
    for (const unit of units) if (looksIncompressible(unit)) assert.ok(saving(unit) < 0.015);
  }
});

test('text, zeros, a byte repeated and short data are worth compressing', () => {
  assert.equal(looksIncompressible(Buffer.alloc(UNIT_BYTES, text)), false);
  assert.equal(looksIncompressible(Buffer.alloc(UNIT_BYTES)), false);
  assert.equal(looksIncompressible(Buffer.alloc(UNIT_BYTES, 0xa5)), false);
  assert.equal(looksIncompressible(noise(2048)), false);
  assert.equal(looksIncompressible(new Uint8Array(0)), false);
});

test('the answer does not depend on what was looked at before, nor on where the bytes stand in memory', () => {
  const unit = noise(UNIT_BYTES);
  const shifted = Buffer.concat([Buffer.alloc(3), unit]).subarray(3);
  assert.equal(looksIncompressible(unit), true);
  assert.equal(looksIncompressible(unit), true);
  assert.equal(looksIncompressible(shifted), true);
  assert.equal(looksIncompressible(Buffer.concat([unit.subarray(0, 32768), unit.subarray(0, 32768)])), false);
});
