import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root } from '../house/files.ts';

/** Where setup/guests.mjs puts them. */
const folder = join(root, 'node_modules/.cache/gantry/packages');

/** A package of Debian as a file that was never installed. */
export interface GuestPackage {
  /** `linux-image-6.1.0-18-amd64_6.1.76-1_amd64.deb`: name and version. */
  readonly file: string;
  readonly path: string;
}

/** The package whose file has a name like this; of several the last one, by numbers. */
export async function guestPackage(name: RegExp): Promise<GuestPackage> {
  const files = await readdir(folder).catch(() => []);
  const [file] = files
    .filter((each) => name.test(each))
    .sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  if (file === undefined) {
    throw new Error(
      `${folder} has no package like ${name}: npm test fetches it, also with the name of one test file`,
    );
  }
  return { file, path: join(folder, file) };
}

/** Unpacks those of its files that match patterns of tar, each of which has to match some. */
export async function unpack(
  { path }: GuestPackage,
  into: string,
  patterns: readonly string[],
): Promise<void> {
  const archive = spawn('dpkg-deb', ['--fsys-tarfile', path], { stdio: ['ignore', 'pipe', 'inherit'] });
  const tar = spawn('tar', ['-x', '-C', into, '--wildcards', ...patterns], {
    stdio: [archive.stdout, 'ignore', 'inherit'],
  });
  await Promise.all([endOf(archive, 'dpkg-deb'), endOf(tar, 'tar')]);
}

async function endOf(child: ChildProcess, name: string): Promise<void> {
  const [code, signal] = await once(child, 'exit');
  if (code !== 0) throw new Error(`${name} ended with ${code ?? signal}`);
}

/** Runs a program to its end and gives what it printed. */
export async function tool(
  program: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { stdout } = await promisify(execFile)(program, args, {
    maxBuffer: 2 ** 26,
    // Debian has the makers of file systems where only root looks.
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LC_ALL: 'C.UTF-8', ...environment },
  });
  return stdout;
}
