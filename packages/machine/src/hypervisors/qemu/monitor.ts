import { StoreError } from '@gantry/disk';
import { QmpClient, type QmpEvent } from './qmp.ts';
import { connectInTurn } from './sockets.ts';

/** QEMU answers at once, but for others whose turn it is; what takes longer than this hangs. */
const ANSWER_MS = 60_000;

/**
 * A conversation with QEMU at one of its sockets, which takes one at a time, of all processes. Undefined when no
 * QEMU listens there. Throws STORE_IO when it does not answer, or goes away.
 */
export async function converse<Result>(
  socketPath: string,
  task: (qmp: QmpClient) => Promise<Result>,
  onEvent?: (event: QmpEvent) => void,
): Promise<Result | undefined> {
  const socket = await connectInTurn(socketPath, AbortSignal.timeout(ANSWER_MS)).catch((error) => {
    throw error instanceof Error && error.name === 'TimeoutError' ? silent(socketPath) : error;
  });
  if (socket === undefined) return undefined;
  const timer = setTimeout(() => socket.destroy(silent(socketPath)), ANSWER_MS);
  try {
    return await task(await QmpClient.start(socket, onEvent));
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

function silent(where: string): StoreError {
  return new StoreError('STORE_IO', 'QEMU does not answer', {
    where,
    hint: 'look whether its process waits for a disk; end the machine by force if it does not go on',
  });
}
