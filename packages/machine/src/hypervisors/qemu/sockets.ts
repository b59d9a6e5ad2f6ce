import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** A connection to a socket of this host. Throws what the system says: ENOENT, ECONNREFUSED or ECONNRESET when nobody listens. */
export function connectTo(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      // From here on whoever has it hears of its end by `close`.
      socket.on('error', () => {});
      resolve(socket);
    });
  });
}

/** Whether somebody listens there, also one who takes no more connections now. */
export async function isAnswered(path: string): Promise<boolean> {
  try {
    (await connectTo(path)).destroy();
    return true;
  } catch (error) {
    if (isNobody(error)) return false;
    if (isBusy(error)) return true;
    throw error;
  }
}

/** As `connectTo`, for one who may be busy with as many others as wait there. Undefined when nobody listens. */
export async function connectInTurn(path: string, signal?: AbortSignal): Promise<Socket | undefined> {
  for (;;) {
    signal?.throwIfAborted();
    try {
      return await connectTo(path);
    } catch (error) {
      if (isNobody(error)) return undefined;
      if (!isBusy(error)) throw error;
    }
    await delay(20, undefined, { signal });
  }
}

/** ECONNRESET: it went away before it took the connection. */
function isNobody(error: unknown): boolean {
  return ['ENOENT', 'ECONNREFUSED', 'ECONNRESET'].includes(String(codeOf(error)));
}

function isBusy(error: unknown): boolean {
  return codeOf(error) === 'EAGAIN';
}

export function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
