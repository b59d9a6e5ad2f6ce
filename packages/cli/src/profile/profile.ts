import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { parse } from 'smol-toml';
import { CommandError } from '../errors/command-error.ts';
import { shellWord } from '../output/printable.ts';
import { runningFolder, runningProfiles } from './running.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Which service to talk to, and as whom. */
export interface Profile {
  /** Scheme, host and port (and a path, behind a proxy), without a slash at the end. */
  readonly endpoint: string;
  readonly token: string;
  /** The file that says so. */
  readonly file: string;
}

export interface ProfileChoice {
  /** `--profile`. */
  readonly profile: string | undefined;
  readonly environment: Environment;
}

/**
 * The client profile: the one that is named by `--profile`, else by GANTRY_PROFILE, else the user's own, else
 * that of the one service that runs from this clone. Throws PROFILE when there is none or it is not usable.
 */
export async function findProfile({ profile, environment }: ProfileChoice): Promise<Profile> {
  const named = profile ?? (environment.GANTRY_PROFILE || undefined);
  if (named !== undefined) return readProfile(named);
  const own = ownProfileFile(environment);
  const text = await readIfThere(own);
  if (text !== undefined) return parseProfile(text, own);
  const running = await runningProfiles(runningFolder(environment));
  const [only, ...others] = running;
  if (only === undefined) {
    throw new CommandError('PROFILE', 'no service is known to talk to', {
      hint: `start one with npm start (or gantry serve), name a profile with --profile FILE, or make ${own}`,
    });
  }
  if (others.length > 0) {
    throw new CommandError('PROFILE', 'more than one service runs from this clone', {
      hint: `choose one: ${running.map((file) => `--profile ${shellWord(file)}`).join(', or ')}`,
    });
  }
  return readProfile(only);
}

/** $XDG_CONFIG_HOME/gantry/client.toml, by default in ~/.config (XDG Base Directory Specification). */
export function ownProfileFile(environment: Environment): string {
  const { XDG_CONFIG_HOME, HOME } = environment;
  // The specification: a path that is not absolute is to be ignored.
  const folder =
    XDG_CONFIG_HOME !== undefined && isAbsolute(XDG_CONFIG_HOME)
      ? XDG_CONFIG_HOME
      : join(HOME || homedir(), '.config');
  return join(folder, 'gantry', 'client.toml');
}

async function readProfile(file: string): Promise<Profile> {
  const text = await readIfThere(file);
  if (text === undefined) throw new CommandError('PROFILE', `there is no profile ${file}`);
  return parseProfile(text, file);
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new CommandError('PROFILE', `the profile ${file} cannot be read`, { cause: error });
  }
}

function parseProfile(text: string, file: string): Profile {
  const refuse = (why: string) =>
    new CommandError('PROFILE', `the profile ${file} ${why}`, {
      hint: 'it holds two lines: endpoint = "http://HOST:PORT" and token = "gantry_…"',
    });
  let table: Record<string, unknown>;
  try {
    table = parse(text);
  } catch {
    // The message of the parser shows the line at fault, and with it perhaps the token.
    throw refuse('is not TOML');
  }
  const { endpoint, token } = table;
  const url = typeof endpoint === 'string' ? URL.parse(endpoint) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) throw refuse('names no http or https endpoint');
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) throw refuse('holds no token');
  return { endpoint: `${url.origin}${url.pathname.replace(/\/+$/, '')}`, token, file };
}
