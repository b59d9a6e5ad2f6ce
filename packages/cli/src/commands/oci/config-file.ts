import { chmod, lstat, mkdir, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { StoreError, storeError } from '@gantry/disk';

/** A profile of the configuration file that OCI's SDKs and CLI read (SDK and CLI Configuration File). */
export interface OciProfile {
  readonly user: string;
  readonly fingerprint: string;
  readonly tenancy: string;
  readonly region: string;
  readonly key_file: string;
}

/** The configuration file's text; empty when there is none yet. Throws StoreError. */
export async function readConfig(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw storeError(error, file);
  });
}

/** Whether the text has a profile of this name. */
export function hasProfile(text: string, name: string): boolean {
  return sectionOf(text.split('\n'), name) !== undefined;
}

/** The text with this profile in place of one of its name, or at the end; all else stays as it is. */
export function withProfile(text: string, name: string, profile: OciProfile): string {
  const own = [`[${name}]`, ...Object.entries(profile).map(([key, value]) => `${key}=${value}`)];
  const lines = text.split('\n');
  const section = sectionOf(lines, name);
  if (section !== undefined) {
    return [...lines.slice(0, section.from), ...own, ...lines.slice(section.to)].join('\n');
  }
  const before = text === '' || text.endsWith('\n') ? text : `${text}\n`;
  return `${before}${before === '' ? '' : '\n'}${own.join('\n')}\n`;
}

/** From the section's title to behind its last setting: what is above the next title may be about that. */
function sectionOf(lines: readonly string[], name: string): { from: number; to: number } | undefined {
  const titleOf = (line: string) => /^\s*\[([^\]]*)\]/.exec(line)?.[1]?.trim();
  const from = lines.findIndex((line) => titleOf(line) === name);
  if (from < 0) return undefined;
  const following = lines.slice(from + 1);
  const next = following.findIndex((line) => titleOf(line) !== undefined);
  const own = next < 0 ? following : following.slice(0, next);
  return { from, to: from + 2 + own.findLastIndex((line) => /^\s*[^\s#;]/.test(line)) };
}

/** Replaces the file as a whole, or makes it; only its owner may read a new one. Throws StoreError. */
export async function writeConfig(file: string, text: string): Promise<void> {
  const existing = await stat(file).catch(() => undefined);
  if (existing !== undefined && !existing.isFile()) {
    throw new StoreError('STORE_REFUSED', `${file} is no file`, { where: file });
  }
  try {
    // What a link leads to is replaced, not the link.
    const target = existing === undefined ? file : await realpath(file);
    const partial = `${target}.gantry-${process.pid}`;
    await writeSecret(partial, text);
    if (existing !== undefined) await chmod(partial, existing.mode & 0o777);
    await rename(partial, target).catch(async (error) => {
      await rm(partial, { force: true });
      throw error;
    });
  } catch (error) {
    throw storeError(error, file);
  }
}

/** Writes a new file that only its owner may read. Throws STORE_EXISTS, and removes what it could not write whole. */
export async function writeSecret(file: string, text: string): Promise<void> {
  const handle = await open(file, 'wx', 0o600).catch((error) => {
    throw storeError(error, file);
  });
  try {
    await handle.writeFile(text);
    await handle.sync();
  } catch (error) {
    await rm(file, { force: true });
    throw storeError(error, file);
  } finally {
    await handle.close();
  }
}

/** Makes a folder for secrets where there is none. Throws StoreError. */
export async function makeSecretFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error) => {
    throw storeError(error, folder);
  });
}

/** A name that is not taken in the folder: `name.pem`, else `name-2.pem` and so on. */
export async function freeName(folder: string, stem: string, extension: string): Promise<string> {
  for (let number = 1; ; number++) {
    const file = join(folder, `${stem}${number === 1 ? '' : `-${number}`}${extension}`);
    if ((await lstat(file).catch(() => undefined)) === undefined) return file;
  }
}
