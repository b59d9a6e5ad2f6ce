import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'smol-toml';

// A service of this clone says here that it runs, so that the command finds it without any set-up: one file
// for each, named by its process. What a killed service left is known by its process being gone.

const cloneFolder = fileURLToPath(new URL('../../../../', import.meta.url));

/** Where the services of this clone say that they run. GANTRY_RUN_FOLDER names another place. */
export function runningFolder(environment: Readonly<Record<string, string | undefined>>): string {
  return environment.GANTRY_RUN_FOLDER || join(cloneFolder, 'node_modules', '.cache', 'gantry', 'running');
}

/** Says that this process serves what `profile` leads to. Gives what takes that back. */
export async function recordRunning(folder: string, profile: string): Promise<() => Promise<void>> {
  const file = join(folder, `${process.pid}.toml`);
  const record = { profile, processId: process.pid, processStart: await processStart(process.pid) };
  await mkdir(folder, { recursive: true });
  await writeFile(`${file}.new`, stringify(record));
  await rename(`${file}.new`, file);
  return () => rm(file, { force: true });
}

/** The profiles of the services that run; what others left behind is removed. */
export async function runningProfiles(folder: string): Promise<string[]> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.toml'));
  const profiles: string[] = [];
  for (const name of names.sort()) {
    const file = join(folder, name);
    const profile = await profileOfRunning(file);
    if (profile !== undefined) profiles.push(profile);
    else await rm(file, { force: true }).catch(() => {});
  }
  return profiles;
}

async function profileOfRunning(file: string): Promise<string | undefined> {
  try {
    const { profile, processId, processStart: start } = parse(await readFile(file, 'utf8'));
    if (typeof profile !== 'string' || typeof processId !== 'number' || !isAlive(processId)) return undefined;
    return (await processStart(processId)) === start ? profile : undefined;
  } catch {
    return undefined;
  }
}

function isAlive(processId: number): boolean {
  try {
    return process.kill(processId, 0);
  } catch (error) {
    // It lives, but is not ours to signal.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/**
 * When a process started, so that another one with the same number is not taken for it: field 22 of
 * proc_pid_stat(5), counted behind the program's name, which can hold anything. Empty where there is no /proc.
 */
async function processStart(processId: number): Promise<string> {
  const text = await readFile(`/proc/${processId}/stat`, 'utf8').catch(() => '');
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}
