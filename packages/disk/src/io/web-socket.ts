import { ImageError } from '../errors.ts';
import type { ByteChannel, Listener, SocketAddress } from './byte-channel.ts';

// What node-socket.ts gives, in a browser: a refusal.

function refuse(): never {
  throw new ImageError('IMAGE_UNSUPPORTED', 'a browser has no sockets', {
    structure: 'socket',
    hint: 'read over HTTP, with httpSource',
  });
}

export async function connectSocket(
  _address: SocketAddress,
  _timeoutMs: number,
  _signal?: AbortSignal,
): Promise<ByteChannel> {
  return refuse();
}

export async function listenSocket(
  _address: SocketAddress,
  _onChannel: (channel: ByteChannel) => void,
): Promise<Listener> {
  return refuse();
}
