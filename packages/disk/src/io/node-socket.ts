import { chmod, lstat, rm } from 'node:fs/promises';
import { connect, createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import { StoreError } from '../errors.ts';
import type { ByteChannel, Listener, SocketAddress } from './byte-channel.ts';

/** A read of the system fills at most this much. */
const RECEIVED_BYTES = 512 * 1024;

function socketName(address: SocketAddress): string {
  if (address.kind === 'unix') return address.path;
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

/**
 * Connects. Throws STORE_UNREACHABLE when nobody answers there within `timeoutMs`, the signal's reason when aborted.
 */
export async function connectSocket(
  address: SocketAddress,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<ByteChannel> {
  signal?.throwIfAborted();
  const name = socketName(address);
  const place = address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
  let channel: SocketChannel | undefined;
  // One buffer for all that arrives: fresh ones of 64 KiB for every read cost more than the copy out of it.
  const onread = {
    buffer: Buffer.allocUnsafeSlow(RECEIVED_BYTES),
    callback: (count: number, buffer: Uint8Array) => channel?.receive(buffer.subarray(0, count)) ?? true,
  };
  const socket = connect({ ...place, onread, noDelay: true });
  channel = new SocketChannel(socket, name);
  const connected = Promise.withResolvers<void>();
  socket.once('connect', connected.resolve);
  socket.once('error', connected.reject);
  const onAbort = () => connected.reject(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  const timer = setTimeout(() => connected.reject(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
  try {
    await connected.promise;
    return channel;
  } catch (error) {
    socket.destroy();
    signal?.throwIfAborted();
    throw new StoreError('STORE_UNREACHABLE', `${name}: ${messageOf(error)}`, {
      where: name,
      hint: 'check the address, and that the server runs',
      cause: error,
    });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

/**
 * Listens; every connection is given to `onChannel`. A socket in the file system is for its owner alone, and one that
 * a killed server left behind is replaced. Throws STORE_EXISTS when something else is there, or somebody listens.
 */
export async function listenSocket(
  address: SocketAddress,
  onChannel: (channel: ByteChannel) => void,
): Promise<Listener> {
  if (address.kind === 'unix') await removeStaleSocket(address.path);
  let count = 0;
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    const channel = new SocketChannel(socket, `client ${++count}`);
    socket.on('data', (chunk: Uint8Array) => {
      if (!channel.receive(chunk)) socket.pause();
    });
    onChannel(channel);
  });
  try {
    await listen(server, address);
    if (address.kind === 'unix') await chmod(address.path, 0o600);
  } catch (error) {
    server.close();
    throw listenError(error, address);
  }
  const found = server.address();
  const port = typeof found === 'object' && found !== null ? found.port : 0;
  return {
    address: address.kind === 'tcp' ? { ...address, port } : address,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

function listen(server: Server, address: SocketAddress): Promise<void> {
  const place: ListenOptions =
    address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(place, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function listenError(error: unknown, address: SocketAddress): unknown {
  const where = socketName(address);
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE') {
    return new StoreError('STORE_EXISTS', `${where}: another program listens there`, {
      where,
      hint: address.kind === 'unix' ? 'choose another path' : 'choose another port, or 0 for a free one',
      cause: error,
    });
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new StoreError('STORE_DENIED', `${where}: permission denied`, { where, cause: error });
  }
  return new StoreError('STORE_IO', `cannot listen at ${where}: ${messageOf(error)}`, {
    where,
    cause: error,
  });
}

/** Connecting tells a socket that a killed server left behind from one where somebody listens. */
async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new StoreError('STORE_EXISTS', `${path} exists and is not a socket`, {
      where: path,
      hint: 'choose another path',
    });
  }
  const isRefused = await new Promise<boolean>((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
  if (isRefused) await rm(path, { force: true });
}

class SocketChannel implements ByteChannel {
  readonly name: string;
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  /** What has arrived and was not taken; more is not asked for before it is. */
  #left: Uint8Array | undefined;
  #waiting: PromiseWithResolvers<void> | undefined;
  #isEnded = false;
  #isFinishing = false;
  #failure: unknown;

  constructor(socket: Socket, name: string) {
    this.#socket = socket;
    this.name = name;
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#isEnded = true;
        this.#waiting?.resolve();
        resolve();
      });
    });
    socket.on('error', (error) => {
      this.#failure ??= error;
    });
    socket.on('end', () => {
      this.#isEnded = true;
      this.#waiting?.resolve();
    });
  }

  /** Takes what arrived; false when no more may come for now. */
  receive(bytes: Uint8Array): boolean {
    if (this.#isFinishing) return true;
    this.#left = this.#left === undefined ? bytes : Buffer.concat([this.#left, bytes]);
    this.#waiting?.resolve();
    return false;
  }

  async some(mostBytes: number): Promise<Uint8Array | undefined> {
    while (this.#left === undefined) {
      if (this.#failure !== undefined) throw this.#broken();
      if (this.#isEnded) return undefined;
      this.#waiting = Promise.withResolvers();
      this.#socket.resume();
      await this.#waiting.promise;
      this.#waiting = undefined;
    }
    const all = this.#left;
    if (all.length <= mostBytes) {
      this.#left = undefined;
      return all;
    }
    this.#left = all.subarray(mostBytes);
    return all.subarray(0, mostBytes);
  }

  send(parts: readonly Uint8Array[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const last = parts.length - 1;
      this.#socket.cork();
      parts.forEach((part, index) => {
        if (index < last) this.#socket.write(part);
        else this.#socket.write(part, (error) => (error ? reject(this.#broken(error)) : resolve()));
      });
      this.#socket.uncork();
    });
  }

  async finish(): Promise<void> {
    this.#isFinishing = true;
    this.#socket.end();
    this.#socket.resume();
    await this.closed;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #broken(error: unknown = this.#failure): StoreError {
    return new StoreError('STORE_UNREACHABLE', `the connection to ${this.name} broke: ${messageOf(error)}`, {
      where: this.name,
      cause: error,
    });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error && error.message !== '' ? error.message : String(error);
}
