import { utf8Bytes } from '../bytes/fields.ts';
import { invariant } from '../errors.ts';
import type { ByteChannel, SocketAddress } from '../io/byte-channel.ts';
import { listenSocket } from '../io/node-socket.ts';
import type { NbdExport } from './export.ts';
import { CONNECTION_COUNT_MAX, STRING_BYTES_MAX } from './limits.ts';
import { negotiate } from './negotiation.ts';
import { Transmission } from './transmission.ts';

export interface NbdServerOptions {
  readonly address: SocketAddress;
  readonly exports: readonly NbdExport[];
  /** Told of every request that failed on our side: the client learns only that it did. */
  readonly onError?: ((error: unknown) => void) | undefined;
  /** Milliseconds that a client has to choose an export. Default 30,000. */
  readonly handshakeMs?: number | undefined;
  /** Milliseconds that requests at work have to be answered when the server is closed. Default 5,000. */
  readonly graceMs?: number | undefined;
  /** Clients at a time, each with up to 32 MiB of requests at work. Default 16. */
  readonly connectionsMax?: number | undefined;
}

export interface NbdServer {
  /** With the port that was taken where 0 was asked for. */
  readonly address: SocketAddress;
  /** Offers another export from now on. */
  add(added: NbdExport): void;
  /** Offers an export no more, and ends the connections to it as `close` does; the disk stays open. */
  remove(name: string): Promise<void>;
  /** Answers what is at work, ends all connections and flushes what was written. The disks stay open. */
  close(): Promise<void>;
}

/**
 * Serves disks by the NBD protocol: fixed newstyle, structured replies, base:allocation; docs/reference/nbd.md says all.
 * NBD knows no passwords and this server no TLS: whoever can connect can read, and write where an export is writable.
 * Throws StoreError when it cannot listen there.
 */
export async function serveNbd(options: NbdServerOptions): Promise<NbdServer> {
  const { address, onError = () => {}, handshakeMs = 30_000, graceMs = 5000 } = options;
  const { connectionsMax = CONNECTION_COUNT_MAX } = options;
  const exports = [...options.exports];
  exports.forEach(requireServable);
  const connections = new Set<Connection>();
  const listener = await listenSocket(address, (channel) => {
    // Refused, so that the memory of all connections together has a limit.
    if (connections.size >= connectionsMax) return channel.destroy();
    const connection = new Connection(channel, exports, onError);
    connections.add(connection);
    connection.run(handshakeMs).finally(() => connections.delete(connection));
  });
  return {
    address: listener.address,
    add(added) {
      requireServable(added);
      invariant(!exports.some(({ name }) => name === added.name), 'each export has a name of its own');
      exports.push(added);
    },
    async remove(name) {
      const at = exports.findIndex((each) => each.name === name);
      if (at < 0) return;
      const [removed] = exports.splice(at, 1);
      const served = [...connections].filter((connection) => connection.export === removed);
      await Promise.all(served.map((connection) => connection.stop(graceMs)));
      await removed?.writable?.flush();
    },
    async close() {
      const closing = listener.close();
      await Promise.all([...connections].map((connection) => connection.stop(graceMs)));
      await closing;
      for (const { writable } of exports) await writable?.flush();
    },
  };
}

function requireServable({ name, description = '', disk }: NbdExport): void {
  invariant(disk.sequential !== true, 'a served disk is read at any offset');
  for (const text of [name, description]) {
    invariant(utf8Bytes(text).length <= STRING_BYTES_MAX, 'a name has at most 4096 bytes');
  }
}

class Connection {
  /** What the client chose, as soon as it has. */
  export: NbdExport | undefined;
  readonly #channel: ByteChannel;
  readonly #exports: readonly NbdExport[];
  readonly #onError: (error: unknown) => void;
  #transmission: Transmission | undefined;

  constructor(channel: ByteChannel, exports: readonly NbdExport[], onError: (error: unknown) => void) {
    this.#channel = channel;
    this.#exports = exports;
    this.#onError = onError;
  }

  /** Never throws: what a client does wrong ends its connection and nothing else. */
  async run(handshakeMs: number): Promise<void> {
    const timer = setTimeout(() => this.#channel.destroy(), handshakeMs);
    try {
      const session = await negotiate(this.#channel, this.#exports);
      clearTimeout(timer);
      if (session !== undefined) {
        this.export = session.export;
        this.#transmission = new Transmission(this.#channel, session, this.#onError);
        await this.#transmission.run();
        // Not every client flushes what it wrote before it goes.
        await session.export.writable?.flush().catch(this.#onError);
      }
      // A client that does not close its end in time is not waited for.
      const patience = setTimeout(() => this.#channel.destroy(), handshakeMs);
      await this.#channel.finish().finally(() => clearTimeout(patience));
    } catch {
      this.#channel.destroy();
    } finally {
      clearTimeout(timer);
      await this.#channel.closed;
      // No write goes on when the connection is forgotten.
      await this.#transmission?.settled();
    }
  }

  async stop(graceMs: number): Promise<void> {
    const timer = setTimeout(() => this.#channel.destroy(), graceMs);
    await Promise.race([this.#transmission?.stop(), this.#channel.closed]);
    clearTimeout(timer);
    this.#channel.destroy();
    await this.#channel.closed;
    await this.#transmission?.settled();
  }
}
