import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Disk } from '../disk/disk.ts';
import type { WritableDisk } from '../disk/writable-disk.ts';
import { testFolder, tool } from '../formats/images.testkit.ts';
import { type NbdServer, type NbdServerOptions, serveNbd } from './server.ts';

export interface Served {
  readonly server: NbdServer;
  readonly socket: string;
  /** Of the default export. */
  readonly address: string;
}

/** Serves a disk at a socket of its own until the test ends. */
export async function served(
  context: TestContext,
  disk: Disk,
  writable?: WritableDisk,
  options: Partial<NbdServerOptions> = {},
): Promise<Served> {
  const socket = join(await testFolder(context), 'nbd.sock');
  const exports = [{ name: '', description: 'a disk', disk, writable }];
  const server = await serveNbd({ address: { kind: 'unix', path: socket }, exports, ...options });
  context.after(() => server.close());
  return { server, socket, address: `nbd+unix:///?socket=${socket}` };
}

/** Starts nbdkit at a socket of its own until the test ends; gives the address of its default export. */
export async function nbdkit(context: TestContext, ...args: readonly string[]): Promise<string> {
  const folder = await testFolder(context);
  const [socket, pidFile] = [join(folder, 'nbd.sock'), join(folder, 'pid')];
  const watched = watch(folder);
  const child = spawn('nbdkit', ['--foreground', '--unix', socket, '--pidfile', pidFile, ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const ended = once(child, 'exit');
  context.after(async () => {
    // Asked politely, it waits for clients to go.
    child.kill('SIGKILL');
    await ended;
  });
  // It writes that file when it listens.
  const failed = ended.then(([code]) => Promise.reject(new Error(`nbdkit ended with ${code}`)));
  failed.catch(() => {});
  while (!existsSync(pidFile)) await Promise.race([once(watched, 'change'), failed]);
  watched.close();
  return `nbd+unix:///?socket=${socket}`;
}

/** The same with qemu-nbd. */
export async function qemuNbd(context: TestContext, ...args: readonly string[]): Promise<string> {
  const folder = await testFolder(context);
  const [socket, pidFile] = [join(folder, 'nbd.sock'), join(folder, 'pid')];
  await tool('qemu-nbd', '--fork', '--persistent', '--socket', socket, '--pid-file', pidFile, ...args);
  const pid = Number(await readFile(pidFile, 'utf8'));
  context.after(() => process.kill(pid));
  return `nbd+unix:///?socket=${socket}`;
}

/** A connection on which bytes are sent by hand. */
export class RawClient {
  readonly #socket: Socket;
  readonly #chunks: Buffer[] = [];
  #lengthBytes = 0;
  #onData: (() => void) | undefined;
  #isEnded = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#lengthBytes += chunk.length;
      this.#onData?.();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#isEnded = true;
      this.#onData?.();
    });
  }

  static async open(context: TestContext, path: string): Promise<RawClient> {
    const socket = connect({ path });
    const client = new RawClient(socket);
    context.after(() => socket.destroy());
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return client;
  }

  send(...parts: readonly Uint8Array[]): void {
    for (const part of parts) this.#socket.write(part);
  }

  /** Reads nothing more until `resume`. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** The next bytes; fewer when the server ends the connection before. */
  async receive(lengthBytes: number): Promise<Buffer> {
    while (this.#lengthBytes < lengthBytes && !this.#isEnded) {
      await new Promise<void>((resolve) => {
        this.#onData = resolve;
      });
    }
    const all = Buffer.concat(this.#chunks);
    const taken = all.subarray(0, lengthBytes);
    this.#chunks.splice(0, this.#chunks.length, all.subarray(taken.length));
    this.#lengthBytes = all.length - taken.length;
    return taken;
  }

  /** Everything until the server ends the connection. */
  rest(): Promise<Buffer> {
    return this.receive(Number.POSITIVE_INFINITY);
  }
}
