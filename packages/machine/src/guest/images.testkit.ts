import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, open, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Disk, denyReferences, memorySource, openDisk } from '@gantry/disk';

export const MIB: number = 1024 * 1024;

/** A fresh folder that is gone after the test. */
export async function temporaryFolder(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-guest-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Runs a program that is not ours to its end; what it is given on standard input, what it says on standard output. */
export function peer(program: string, args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    // Debian has the makers of file systems where only root looks.
    const environment = {
      ...process.env,
      PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
      MTOOLS_SKIP_CHECK: '1',
      LC_ALL: 'C.UTF-8',
    };
    const child = execFile(
      program,
      args,
      { maxBuffer: 2 ** 26, env: environment },
      (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else reject(new Error(`${program} ${args.join(' ')}: ${error.message}\n${stdout}${stderr}`));
      },
    );
    // Most programs do not listen.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

/** Files by their paths: a text, bytes, or `{ link }`. Paths that end with a slash are folders. */
export type Tree = Readonly<Record<string, string | Uint8Array | { readonly link: string }>>;

export async function writeTree(folder: string, tree: Tree): Promise<void> {
  for (const [path, content] of Object.entries(tree)) {
    const file = join(folder, path);
    await mkdir(path.endsWith('/') ? file : dirname(file), { recursive: true });
    if (path.endsWith('/')) continue;
    if (typeof content === 'object' && 'link' in content) await symlink(content.link, file);
    else await writeFile(file, content);
  }
}

let made = 0;

/** A file system of mke2fs with these files. */
export async function makeExt(
  folder: string,
  tree: Tree,
  args: readonly string[] = ['-t', 'ext4'],
  sizeBytes: number = 16 * MIB,
): Promise<Uint8Array> {
  const root = join(folder, `root-${made++}`);
  await mkdir(root);
  await writeTree(root, tree);
  const image = `${root}.img`;
  await writeFile(image, '');
  await truncate(image, sizeBytes);
  await peer('mke2fs', ['-q', '-F', '-d', root, ...args, image]);
  return new Uint8Array(await readFile(image));
}

/** A FAT of mkfs.fat, its files copied by mtools. */
export async function makeFat(
  folder: string,
  tree: Tree,
  args: readonly string[] = ['-F', '32'],
  sizeBytes: number = 40 * MIB,
): Promise<Uint8Array> {
  const root = join(folder, `fat-${made++}`);
  await mkdir(root);
  await writeTree(root, tree);
  const image = `${root}.img`;
  await writeFile(image, '');
  await truncate(image, sizeBytes);
  await peer('mkfs.fat', [...args, image]);
  const tops = new Set(Object.keys(tree).map((path) => path.split('/')[0] ?? path));
  if (tops.size > 0)
    await peer('mcopy', ['-s', '-i', image, ...[...tops].map((name) => join(root, name)), '::/']);
  return new Uint8Array(await readFile(image));
}

/** A file system of mkfs.xfs, its files by a prototype of xfsprogs. */
export async function makeXfs(
  folder: string,
  tree: Tree,
  args: readonly string[] = [],
  sizeBytes: number = 320 * MIB,
): Promise<Uint8Array> {
  const root = join(folder, `xfs-${made++}`);
  await mkdir(root);
  await writeTree(root, tree);
  const prototype = `${root}.proto`;
  await writeFile(prototype, `/\n0 0\n${prototypeLines(root, tree)}`);
  const image = `${root}.img`;
  await writeFile(image, '');
  await truncate(image, sizeBytes);
  await peer('mkfs.xfs', ['-q', '-f', ...args, '-p', prototype, image]);
  return new Uint8Array(await readFile(image));
}

/** `proto(4)`: a line for each name, folders closed by a `$`. */
function prototypeLines(root: string, tree: Tree): string {
  interface Folder extends Map<string, Folder | string> {}
  const top: Folder = new Map();
  for (const [path, content] of Object.entries(tree)) {
    const names = path.split('/').filter((name) => name !== '');
    const last = path.endsWith('/') ? undefined : names.pop();
    let folder = top;
    for (const name of names) {
      const next = folder.get(name);
      const below: Folder = typeof next === 'object' ? next : new Map();
      folder.set(name, below);
      folder = below;
    }
    if (last === undefined) continue;
    const isLink = typeof content === 'object' && 'link' in content;
    folder.set(last, isLink ? `l--777 0 0 ${content.link}` : `---644 0 0 ${join(root, path)}`);
  }
  const lines = (folder: Folder): string =>
    [...folder]
      .map(([name, below]) =>
        typeof below === 'string' ? `${name} ${below}\n` : `${name} d--755 0 0\n${lines(below)}`,
      )
      .join('')
      .concat('$\n');
  return `d--755 0 0\n${lines(top)}`;
}

/** An NTFS of mkntfs, its files applied by wimlib. */
export async function makeNtfs(
  folder: string,
  tree: Tree,
  args: readonly string[] = [],
  sizeBytes: number = 32 * MIB,
): Promise<Uint8Array> {
  const root = join(folder, `ntfs-${made++}`);
  await mkdir(root);
  await writeTree(root, tree);
  return applyToNtfs(root, args, sizeBytes);
}

/** An NTFS with the files of a folder, hard links as they are. */
export async function applyToNtfs(
  root: string,
  args: readonly string[],
  sizeBytes: number,
): Promise<Uint8Array> {
  const image = `${root}.img`;
  await writeFile(image, '');
  await truncate(image, sizeBytes);
  const sectors = args.includes('-s') ? [] : ['-s', '512'];
  await peer('mkntfs', ['-q', '-F', '-Q', '-p', '0', '-H', '0', '-S', '0', ...sectors, ...args, image]);
  const archive = `${root}.wim`;
  // Else it would leave away what Windows makes anew, such as hiberfil.sys.
  const everything = `${root}.ini`;
  await writeFile(everything, '[ExclusionList]\n');
  await peer('wimlib-imagex', [
    'capture',
    '--quiet',
    '--compress=none',
    `--config=${everything}`,
    root,
    archive,
  ]);
  await peer('wimlib-imagex', ['apply', '--quiet', archive, image]);
  return new Uint8Array(await readFile(image));
}

export interface Part {
  readonly content: Uint8Array;
  /** `sfdisk`'s words for the entry besides its place: `type=U, bootable`. */
  readonly entry: string;
}

/** A disk with a partition table of sfdisk, each partition at a whole MiB, in the order given. */
export async function makeDisk(
  folder: string,
  label: 'gpt' | 'dos',
  parts: readonly Part[],
): Promise<Uint8Array> {
  let startMib = 1;
  const placed = parts.map((part) => {
    const sizeMib = Math.max(1, Math.ceil(part.content.length / MIB));
    const place = { ...part, startMib, sizeMib };
    startMib += sizeMib;
    return place;
  });
  const image = join(folder, `disk-${made++}.img`);
  await writeFile(image, '');
  await truncate(image, (startMib + 1) * MIB);
  const lines = placed.map(
    ({ entry, startMib: start, sizeMib }) => `start=${start}MiB, size=${sizeMib}MiB, ${entry}`,
  );
  await peer('sfdisk', ['--quiet', image], `label: ${label}\n${lines.join('\n')}\n`);
  const handle = await open(image, 'r+');
  try {
    for (const { content, startMib: start } of placed)
      await handle.write(content, 0, content.length, start * MIB);
  } finally {
    await handle.close();
  }
  return new Uint8Array(await readFile(image));
}

/** The bytes as a raw disk. */
export function diskOf(bytes: Uint8Array): Promise<Disk> {
  return openDisk(memorySource(bytes), { references: denyReferences, format: 'raw' });
}

/** An archive of GNU cpio with these files. */
export async function makeCpio(folder: string, tree: Tree): Promise<Uint8Array> {
  const root = join(folder, `cpio-${made++}`);
  await mkdir(root);
  await writeTree(root, tree);
  const archive = `${root}.cpio`;
  const names = await peer('find', [root, '-mindepth', '1', '-printf', '%P\\n']);
  await peer('cpio', ['--quiet', '-o', '-H', 'newc', '-D', root, '-O', archive], names);
  return new Uint8Array(await readFile(archive));
}

/** What a program makes of bytes that it is given in a file. */
export async function compressed(folder: string, bytes: Uint8Array, command: string): Promise<Uint8Array> {
  const file = join(folder, `packed-${made++}`);
  await writeFile(file, bytes);
  await peer('sh', ['-c', `${command} < "$0" > "$0.out"`, file]);
  return new Uint8Array(await readFile(`${file}.out`));
}
