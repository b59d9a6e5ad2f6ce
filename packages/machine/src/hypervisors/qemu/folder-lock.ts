import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { StoreError } from '@gantry/disk';
import { codeOf, connectTo, isAnswered } from './sockets.ts';

export interface LockOptions {
  /** Told to whoever wants the folder meanwhile. */
  readonly purpose: string;
  /** With others that share it too. That may be for long: those who want it alone do not wait for it. */
  readonly isShared?: boolean | undefined;
  /** How long to wait for others. Default: two minutes. */
  readonly waitMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface FolderLock {
  release(): Promise<void>;
}

const WAIT_MS = 120_000;
/** Between two looks; random, so that two that keep each other out do not go on so. */
const PAUSE_MS = 25;

/**
 * Keeps others out of a folder for as long as this process lives and does not release it: a process that is killed
 * leaves nothing that has to be known of. Whoever wants it listens at a socket of its own in the folder, and then looks
 * for others: a socket that nobody answers is of a process that is gone, since no name is used twice. Two that see each
 * other both withdraw. Throws STORE_REFUSED when others do not let go of it in time.
 */
export async function lockFolder(folder: string, options: LockOptions): Promise<FolderLock> {
  const { signal, waitMs = WAIT_MS, purpose } = options;
  const endMs = Date.now() + waitMs;
  for (;;) {
    signal?.throwIfAborted();
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const name = `${options.isShared === true ? 's' : 'x'}${randomBytes(6).toString('base64url')}`;
    const server = await listening(folder, name, purpose);
    // The folder was removed with what it belongs to.
    if (server === undefined) continue;
    const release = async () => {
      await rm(join(folder, name), { force: true });
      await closed(server);
    };
    try {
      const other = await otherHolder(folder, name);
      if (other === undefined) return { release };
      await release();
      if (other === 'removed') continue;
      if (other.isShared || Date.now() >= endMs) throw held(folder, other.purpose);
    } catch (error) {
      await release();
      throw error;
    }
    await delay(PAUSE_MS * (1 + Math.random()), undefined, { signal });
  }
}

function held(folder: string, purpose: string): StoreError {
  return new StoreError('STORE_REFUSED', `the machine is busy: ${purpose}`, {
    where: folder,
    hint: 'wait until that has ended, then try again',
  });
}

/** It gets its name when it answers: until then others would take it for a dead one. Undefined when the folder is gone. */
async function listening(folder: string, name: string, purpose: string): Promise<Server | undefined> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.end(purpose);
  });
  const arriving = join(folder, `.${name}`);
  try {
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(arriving, resolve));
    await rename(arriving, join(folder, name));
  } catch (error) {
    if (server.listening) await closed(server);
    if ((await stat(folder).catch(() => undefined)) === undefined || codeOf(error) === 'ENOENT')
      return undefined;
    throw error;
  }
  // What is held does not keep a process from ending.
  server.unref();
  return server;
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

interface Holder {
  readonly isShared: boolean;
  readonly purpose: string;
}

/** `removed`: the folder went with what it belongs to, and with it the socket that keeps others out. */
async function otherHolder(folder: string, own: string): Promise<Holder | 'removed' | undefined> {
  const names = await readdir(folder).catch((): string[] => []);
  if (!names.includes(own)) return 'removed';
  for (const name of names) {
    if (name === own || name.startsWith('.') || (own.startsWith('s') && name.startsWith('s'))) continue;
    const path = join(folder, name);
    if (!(await isAnswered(path))) {
      await rm(path, { force: true });
      continue;
    }
    return { isShared: name.startsWith('s'), purpose: await purposeAt(path) };
  }
  return undefined;
}

async function purposeAt(path: string): Promise<string> {
  try {
    const socket = await connectTo(path);
    let text = '';
    for await (const chunk of socket.setEncoding('utf8')) text += chunk;
    return text;
  } catch {
    // It ended meanwhile.
    return 'another operation';
  }
}
