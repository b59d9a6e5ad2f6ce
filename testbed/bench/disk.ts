import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** What a Debian system has: programs, libraries, texts. About a GiB together. */
const SOURCES = [
  '/usr/bin',
  '/usr/lib/x86_64-linux-gnu',
  '/usr/lib/python3',
  '/usr/share',
  '/usr/lib/gcc',
  '/usr/libexec',
];

/** Makes an ext4 disk of 2 GiB with about 1 GiB of this system's files in it; gives the raw file's path. */
export function makeSystemDisk(folder: string): string {
  const root = join(folder, 'root');
  const raw = join(folder, 'disk.raw');
  mkdirSync(root);
  for (const source of SOURCES) {
    if (!existsSync(source) || usedMib(root) > 1000) continue;
    const room = 1100 - usedMib(root);
    if (usedMib(source) <= room) cpSync(source, join(root, source.replaceAll('/', '-')), copyOptions);
  }
  execFileSync('truncate', ['--size=2G', raw]);
  execFileSync('mke2fs', ['-q', '-t', 'ext4', '-d', root, raw]);
  rmSync(root, { recursive: true });
  return raw;
}

const copyOptions = { recursive: true, verbatimSymlinks: true, errorOnExist: false } as const;

function usedMib(path: string): number {
  return Number(execFileSync('du', ['-sm', path], { encoding: 'utf8' }).split('\t')[0]);
}
