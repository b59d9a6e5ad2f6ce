import { StoreError } from '../errors.ts';

/** Both directions of a connection. */
export interface ByteChannel {
  /** For messages: who is at the other end. */
  readonly name: string;
  /**
   * Some of the bytes that arrive, at least one and at most this many; undefined at their end. They are valid until
   * the next call. Throws StoreError when the connection breaks. One caller at a time.
   */
  some(mostBytes: number): Promise<Uint8Array | undefined>;
  /**
   * Sends these parts in order, with nothing between them, after what was sent before. Settles when the system has
   * taken all of them, so that the memory can be used again. Throws StoreError when the connection breaks.
   */
  send(parts: readonly Uint8Array[]): Promise<void>;
  /** Ends our direction when all is sent, and waits until the other end has closed. */
  finish(): Promise<void>;
  /** Breaks the connection. Safe to call more than once. */
  destroy(): void;
  /** Settles when the connection is gone, whatever ended it; never throws. */
  readonly closed: Promise<void>;
}

/** Where a server listens: a TCP port, or a socket in the file system. */
export type SocketAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

export interface Listener {
  /** With the port that was taken where 0 was asked for. */
  readonly address: SocketAddress;
  /** Takes no more connections. Those that are open stay so. */
  close(): Promise<void>;
}

/** Fills all of `into`. False when the bytes ended before its first one; throws when they end inside of it. */
export async function fill(channel: ByteChannel, into: Uint8Array): Promise<boolean> {
  for (let done = 0; done < into.length; ) {
    const part = await channel.some(into.length - done);
    if (part === undefined) {
      if (done === 0) return false;
      throw new StoreError('STORE_UNREACHABLE', `${channel.name} ended in the middle of a message`, {
        where: channel.name,
      });
    }
    into.set(part, done);
    done += part.length;
  }
  return true;
}

/** Takes in bytes that nobody needs. */
export async function skip(channel: ByteChannel, lengthBytes: number): Promise<void> {
  for (let rest = lengthBytes; rest > 0; ) {
    const part = await channel.some(rest);
    if (part === undefined) return;
    rest -= part.length;
  }
}
