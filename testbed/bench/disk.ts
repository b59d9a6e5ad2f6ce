import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  cpSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

const MIB = 2 ** 20;

/** What a Debian system has: programs, libraries, texts. About a GiB together. */
const SOURCES = [
  '/usr/bin',
  '/usr/lib/x86_64-linux-gnu',
  '/usr/lib/python3',
  '/usr/share',
  '/usr/lib/gcc',
  '/usr/libexec',
];

/** A little of everything: programs, scripts, texts, pictures. */
const SMALL_SOURCES = [
  '/usr/libexec',
  '/usr/lib/python3',
  '/usr/share/vim',
  '/usr/share/icons',
  '/usr/lib/gcc',
];

/** Makes an ext4 disk of 2 GiB with about 1 GiB of this system's files in it; gives the raw file's path. */
export function makeSystemDisk(folder: string): string {
  return makeFileSystem(folder, 'system.raw', SOURCES, 1100, '2G');
}

/** The same with about half as much. */
export function makeMiddleDisk(folder: string): string {
  return makeFileSystem(folder, 'middle.raw', ['/usr/bin', ...SMALL_SOURCES], 480, '2G');
}

/** The same of 1 GiB with about 200 MiB, for what is slow. */
export function makeSmallerDisk(folder: string): string {
  return makeFileSystem(folder, 'smaller.raw', SMALL_SOURCES, 210, '1G');
}

function makeFileSystem(
  folder: string,
  name: string,
  sources: readonly string[],
  mostMib: number,
  size: string,
): string {
  const root = join(folder, 'root');
  const raw = join(folder, name);
  mkdirSync(root);
  for (const source of sources) {
    const room = mostMib - usedMib(root);
    if (!existsSync(source) || usedMib(source) > room) continue;
    cpSync(source, join(root, source.replaceAll('/', '-')), copyOptions);
  }
  execFileSync('truncate', [`--size=${size}`, raw]);
  execFileSync('mke2fs', ['-q', '-t', 'ext4', '-d', root, raw]);
  rmSync(root, { recursive: true });
  return raw;
}

const copyOptions = { recursive: true, verbatimSymlinks: true, errorOnExist: false } as const;

function usedMib(path: string): number {
  return Number(execFileSync('du', ['-sm', path], { encoding: 'utf8' }).split('\t')[0]);
}

/** A disk of `virtualBytes` with `pieceCount` pieces of 1 MiB of noise, evenly spread. */
export function makeNoiseDisk(
  folder: string,
  name: string,
  virtualBytes: number,
  pieceCount: number,
): string {
  const raw = join(folder, name);
  const file = openSync(raw, 'w');
  for (let i = 0; i < pieceCount; i++) {
    const offsetBytes = Math.floor(((virtualBytes / pieceCount) * i) / MIB) * MIB;
    writeSync(file, randomBytes(MIB), 0, MIB, offsetBytes);
  }
  ftruncateSync(file, virtualBytes);
  closeSync(file);
  return raw;
}

/** 16 MiB, of which 3 are the start of a program and the rest a hole. */
export function makeTinyDisk(folder: string): string {
  const raw = join(folder, 'tiny.raw');
  execFileSync('dd', [`if=${process.execPath}`, `of=${raw}`, 'bs=1M', 'count=3', 'status=none']);
  execFileSync('truncate', ['--size=16M', raw]);
  return raw;
}
