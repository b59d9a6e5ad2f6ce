import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const KIB = 1024;
const TIB = 1024 ** 4;

interface Range {
  readonly offsetBytes: number;
  readonly endBytes: number;
}

/** As JavaScript sees it: with arguments of any kind. */
type Call = (...args: unknown[]) => unknown;
type Addon = Record<'compressInto' | 'decompressInto' | 'adler32' | 'looksIncompressible', Call> & {
  nextData(...args: unknown[]): Range | undefined;
  readonly name: string;
  readonly interfaceVersion: number;
};

const addon = createRequire(import.meta.url)('@gantry/native') as Addon;
const bytes = new Uint8Array(100);

function folderOf(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-native-'));
  context.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

function rangesOf(path: string): Range[] {
  const file = openSync(path, 'r');
  const ranges: Range[] = [];
  try {
    for (
      let found = addon.nextData(file, 0);
      found !== undefined;
      found = addon.nextData(file, found.endBytes)
    )
      ranges.push(found);
  } finally {
    closeSync(file);
  }
  return ranges;
}

/** The same by Python's os.lseek. */
function rangesByPython(path: string): Range[] {
  const script = `
import json, os, sys
fd, at, found = os.open(sys.argv[1], os.O_RDONLY), 0, []
try:
    while True:
        start = os.lseek(fd, at, os.SEEK_DATA)
        at = os.lseek(fd, start, os.SEEK_HOLE)
        found.append({'offsetBytes': start, 'endBytes': at})
except OSError: pass
print(json.dumps(found))`;
  return JSON.parse(execFileSync('python3', ['-c', script, path], { encoding: 'utf8' }));
}

function sparseFile(path: string, lengthBytes: number, data: readonly (readonly [number, number])[]): void {
  const file = openSync(path, 'w');
  for (const [offset, length] of data) writeSync(file, Buffer.alloc(length, 0x5a), 0, length, offset);
  closeSync(file);
  truncateSync(path, lengthBytes);
}

test('the holes of a file are those that Python and filefrag see', (context) => {
  const folder = folderOf(context);
  const path = join(folder, 'sparse');
  const data = [
    [64 * KIB, 64 * KIB],
    [1024 * KIB, 4 * KIB],
    [5 * TIB, 256 * KIB],
  ] as const;
  sparseFile(path, 8 * TIB, data);
  const ranges = rangesOf(path);
  assert.deepEqual(ranges, rangesByPython(path));
  for (const [offset, length] of data) {
    const holder = ranges.find((range) => range.offsetBytes <= offset && offset + length <= range.endBytes);
    assert.ok(holder, `data at ${offset}`);
  }
  // filefrag counts what is stored in blocks; not every file system answers it.
  const frag = spawnSync('filefrag', ['-s', '-v', '-b1', path], { encoding: 'utf8' });
  if (frag.status === 0) {
    const stored = [...frag.stdout.matchAll(/^ *\d+: +(\d+)\.\. +(\d+):/gm)].map(([, start, end]) => [
      Number(start),
      Number(end) + 1,
    ]);
    assert.ok(stored.length > 0);
    for (const [start = 0, end = 0] of stored)
      assert.ok(
        ranges.some((range) => range.offsetBytes <= start && end <= range.endBytes),
        `${start}-${end}`,
      );
  }
});

test('a file without holes is one range, one of holes only none, and an empty one none', (context) => {
  const folder = folderOf(context);
  writeFileSync(join(folder, 'full'), Buffer.alloc(200 * KIB, 1));
  sparseFile(join(folder, 'hole'), TIB, []);
  sparseFile(join(folder, 'empty'), 0, []);
  assert.deepEqual(rangesOf(join(folder, 'full')), [{ offsetBytes: 0, endBytes: 200 * KIB }]);
  assert.deepEqual(rangesOf(join(folder, 'hole')), []);
  assert.deepEqual(rangesOf(join(folder, 'empty')), []);
});

test('looking for data starts in the middle, too, and behind the end there is none', (context) => {
  const path = join(folderOf(context), 'full');
  writeFileSync(path, Buffer.alloc(200 * KIB, 1));
  const file = openSync(path, 'r');
  context.after(() => closeSync(file));
  assert.deepEqual(addon.nextData(file, 100_001), { offsetBytes: 100_001, endBytes: 200 * KIB });
  for (const from of [200 * KIB, TIB, Number.MAX_SAFE_INTEGER])
    assert.equal(addon.nextData(file, from), undefined);
});

test('a descriptor that is not open, or that cannot seek, gives the error of the system call', () => {
  assert.throws(() => addon.nextData(2 ** 31 - 1, 0), {
    code: 'EBADF',
    errno: -constants.errno.EBADF,
    syscall: 'lseek',
  });
  const code = `
    const addon = require(${JSON.stringify(createRequire(import.meta.url).resolve('@gantry/native'))});
    try { addon.nextData(0, 0) } catch (error) { console.log(error.code, error.syscall) }`;
  const piped = execFileSync('sh', ['-c', 'true | "$0" -e "$1"', process.execPath, code], {
    encoding: 'utf8',
  });
  assert.equal(piped, 'ESPIPE lseek\n');
});

test('it says who it is', () => {
  assert.match(addon.name, /^native \(libdeflate [\d.]+, zstd [\d.]+\)$/);
  assert.ok(addon.name.includes(`zstd ${process.versions.zstd})`));
  assert.equal(addon.interfaceVersion, 2);
});

const compressions = ['deflate-raw', 'zlib', 'zstd'];
const notBytes = [
  undefined,
  null,
  7,
  'bytes',
  {},
  [1],
  new ArrayBuffer(8),
  new Uint16Array(8),
  new DataView(new ArrayBuffer(8)),
];
const notNumbers = [undefined, null, '1', {}, 1.5, -1, Number.NaN, Infinity, -Infinity, 2 ** 53, 1n];

test('arguments of the wrong kind are refused', () => {
  const refused = { code: 'ERR_INVALID_ARG_VALUE' };
  const target = new Uint8Array(200);
  for (const wrong of notBytes) {
    assert.throws(() => addon.compressInto(wrong, 'zlib', bytes, 1), refused);
    assert.throws(() => addon.compressInto(target, 'zlib', wrong, 1), refused);
    assert.throws(() => addon.decompressInto(wrong, 'zlib', bytes), refused);
    assert.throws(() => addon.decompressInto(target, 'zlib', wrong), refused);
    assert.throws(() => addon.adler32(wrong), refused);
    assert.throws(() => addon.looksIncompressible(wrong), refused);
  }
  for (const wrong of [undefined, null, 0, '', 'gzip', 'zstd\0', 'deflate-raw and more', {}]) {
    assert.throws(() => addon.compressInto(target, wrong, bytes, 1), refused);
    assert.throws(() => addon.decompressInto(target, wrong, bytes), refused);
  }
  for (const wrong of notNumbers) {
    for (const kind of compressions)
      assert.throws(() => addon.compressInto(target, kind, bytes, wrong), refused);
    assert.throws(() => addon.nextData(wrong, 0), refused);
    assert.throws(() => addon.nextData(0, wrong), refused);
  }
  assert.throws(() => addon.nextData(2 ** 31, 0), refused);
  const { compressInto, decompressInto, adler32, looksIncompressible, nextData } = addon;
  for (const call of [compressInto, decompressInto, adler32, looksIncompressible, nextData])
    assert.throws(() => call(), refused);
});

test('levels outside of the range of a codec are refused', () => {
  const target = new Uint8Array(200);
  for (const [kind, levels] of Object.entries({ 'deflate-raw': [13, 100], zlib: [13], zstd: [0, 23] })) {
    for (const level of levels) assert.throws(() => addon.compressInto(target, kind, bytes, level));
  }
  for (const [kind, levels] of Object.entries({ 'deflate-raw': [0, 12], zlib: [0, 12], zstd: [1, 22] })) {
    for (const level of levels) assert.ok(Number(addon.compressInto(target, kind, bytes, level)) > 0);
  }
});

test('a target that overlaps the bytes is refused', () => {
  const memory = new Uint8Array(300);
  for (const kind of compressions) {
    assert.throws(() => addon.compressInto(memory, kind, memory, 1), /overlaps/);
    assert.throws(
      () => addon.compressInto(memory.subarray(0, 200), kind, memory.subarray(199), 1),
      /overlaps/,
    );
    assert.throws(() => addon.decompressInto(memory.subarray(99), kind, memory.subarray(0, 100)), /overlaps/);
  }
  assert.ok(Number(addon.compressInto(memory.subarray(0, 200), 'zlib', memory.subarray(200), 1)) > 0);
});

test('memory that was given away is as good as none', () => {
  const gone = new Uint8Array(100);
  gone.buffer.transfer();
  const target = new Uint8Array(100);
  for (const kind of compressions) {
    assert.equal(addon.compressInto(gone, kind, bytes, 1), 0);
    assert.ok(Number(addon.compressInto(target, kind, gone, 1)) > 0);
    assert.equal(addon.decompressInto(target, kind, gone), undefined);
  }
  assert.equal(addon.adler32(gone), 1);
  assert.equal(addon.looksIncompressible(gone), false);
});

test('Adler-32 is that of RFC 1950', () => {
  const long = Buffer.alloc(1_000_000, 0xff);
  const script = 'import sys, zlib; print(zlib.adler32(sys.stdin.buffer.read()))';
  for (const content of [Buffer.from('Wikipedia'), Buffer.alloc(0), long]) {
    const expected = execFileSync('python3', ['-c', script], { input: content, encoding: 'utf8' });
    assert.equal(addon.adler32(content), Number(expected));
  }
});

test('a machine without a compiler is told what to install, and goes on unless it is required', () => {
  const build = fileURLToPath(new URL('../build.mjs', import.meta.url));
  const env = { ...process.env, CC: '/nowhere/cc' };
  for (const [options, status] of [
    [[], 0],
    [['--required'], 1],
  ] as const) {
    const run = spawnSync(process.execPath, [build, ...options], { env, encoding: 'utf8' });
    assert.equal(run.status, status);
    assert.match(run.stderr, /not built: .*apt-get install gcc libc6-dev libdeflate-dev/);
    assert.equal(run.stderr.includes('The engine goes on without it'), status === 0);
  }
});
