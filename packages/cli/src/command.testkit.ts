import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

export const launcher: string = fileURLToPath(new URL('../bin/gantry.cjs', import.meta.url));

export interface Ended {
  /** The exit status; null when a signal ended it. */
  readonly code: number | null;
  readonly signalName: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stdoutBytes: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly environment?: Record<string, string>;
  /** The Node that starts it, and its flags. Default: this one, with the sources' condition. */
  readonly node?: readonly string[];
  /** Default: none. */
  readonly stdin?: 'pipe';
}

export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** All of its standard output, as soon as the pattern is in it. Throws when it ends without. */
  said(pattern: RegExp): Promise<string>;
  /** The same of its standard error. */
  noted(pattern: RegExp): Promise<string>;
}

/** Starts the real command. */
export function startGantry(args: readonly string[], options: RunOptions = {}): Running {
  const [node, ...flags] = options.node ?? [process.execPath, '--conditions=source'];
  const child = spawn(node ?? process.execPath, [...flags, launcher, ...args], {
    cwd: options.cwd,
    // Never the configuration of who runs the tests.
    env: { ...process.env, XDG_CONFIG_HOME: '/nonexistent', GANTRY_PROFILE: '', ...options.environment },
    stdio: [options.stdin ?? 'ignore', 'pipe', 'pipe'] as ['pipe', 'pipe', 'pipe'],
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk) => stdout.push(chunk));
  child.stderr.on('data', (chunk) => stderr.push(chunk));
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signalName) => {
      const stdoutBytes = Buffer.concat(stdout);
      const texts = { stdout: stdoutBytes.toString(), stderr: Buffer.concat(stderr).toString() };
      resolve({ code, signalName, stdoutBytes, ...texts });
    });
  });
  const heard = async (stream: Readable, chunks: readonly Buffer[], pattern: RegExp) => {
    for (;;) {
      const text = Buffer.concat(chunks).toString();
      if (pattern.test(text)) return text;
      const isOver = await Promise.race([once(stream, 'data').then(() => false), ended.then(() => true)]);
      if (isOver) throw new Error(`${args.join(' ')} never said ${pattern}: ${JSON.stringify(await ended)}`);
    }
  };
  return {
    child,
    ended,
    said: (pattern) => heard(child.stdout, stdout, pattern),
    noted: (pattern) => heard(child.stderr, stderr, pattern),
  };
}

/** Runs the real command to its end. */
export function gantry(args: readonly string[], options?: RunOptions): Promise<Ended> {
  return startGantry(args, options).ended;
}

/** Runs another program; gives its standard output and its exit status. */
export function run(program: string, args: readonly string[]): Promise<{ code: number; stdout: string }> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { maxBuffer: 2 ** 26 }, (error, stdout) => {
      if (error === null) resolve({ code: 0, stdout });
      else if (typeof error.code === 'number') resolve({ code: error.code, stdout });
      else reject(error);
    });
  });
}

/** A fresh folder that is gone after the test. */
export async function temporaryFolder(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-cli-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A port of this machine on which nobody listens. */
export async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
