import { setTimeout as pause } from 'node:timers/promises';
import { StoreError } from '@gantry/disk';
import type { OciClients } from './clients.ts';
import { isNotFound } from './refusal.ts';

/** How often OCI is asked how far long work has come. */
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

/** OCI took the work on, and it came to nothing: it is to be asked for anew. */
export class WorkFailed extends StoreError {
  constructor(message: string, where: string, hint: string) {
    super('STORE_IO', message, { where, hint });
  }
}

/** What a work request says of itself; `percentComplete` from 0 to 100. */
export interface WorkStatus {
  readonly status: string;
  readonly percentComplete: number;
}

export type WorkListener = (percentComplete: number) => void;

/** Compute's name for it, and object storage's. */
const SUCCEEDED = ['SUCCEEDED', 'COMPLETED'];
const ENDED = [...SUCCEEDED, 'FAILED', 'CANCELED'];

/**
 * Waits until a work request of compute has ended, however long. The SDK's own waiters stop after 20 minutes, and
 * take a failure for an end like any other. Gives false when OCI does not know the work request (any more): its
 * result is then to be looked at. Throws WorkFailed with OCI's own reasons.
 */
export async function waitForWork(
  clients: OciClients,
  id: string,
  onProgress: WorkListener,
): Promise<boolean> {
  const read = async (): Promise<WorkStatus> => {
    const { workRequest } = await clients.call(() =>
      clients.workRequests.getWorkRequest({ workRequestId: id }),
    );
    return { status: workRequest.status, percentComplete: workRequest.percentComplete };
  };
  const reasons = async (): Promise<readonly string[]> => {
    const { items } = await clients.call(() =>
      clients.workRequests.listWorkRequestErrors({ workRequestId: id, sortOrder: 'ASC' as never }),
    );
    return items.map(({ code, message }) => `${message} (${code})`);
  };
  return waitForEnd(clients.signal, id, onProgress, read, reasons);
}

/** As `waitForWork`, for the work requests of object storage, which has some of its own. */
export async function waitForCopy(
  clients: OciClients,
  id: string,
  onProgress: WorkListener,
): Promise<boolean> {
  const read = async (): Promise<WorkStatus> => {
    const { workRequest } = await clients.call(() => clients.objects.getWorkRequest({ workRequestId: id }));
    return { status: workRequest.status ?? '', percentComplete: workRequest.percentComplete ?? 0 };
  };
  const reasons = async (): Promise<readonly string[]> => {
    const { items } = await clients.call(() => clients.objects.listWorkRequestErrors({ workRequestId: id }));
    return items.map(({ code, message }) => `${message} (${code})`);
  };
  return waitForEnd(clients.signal, id, onProgress, read, reasons);
}

async function waitForEnd(
  signal: AbortSignal,
  id: string,
  onProgress: WorkListener,
  read: () => Promise<WorkStatus>,
  reasons: () => Promise<readonly string[]>,
): Promise<boolean> {
  try {
    const { status } = await polled(signal, read, ({ status, percentComplete }) => {
      onProgress(percentComplete);
      return ENDED.includes(status);
    });
    if (SUCCEEDED.includes(status)) return true;
    const why = await reasons();
    throw new WorkFailed(
      `OCI ended its work as ${status}: ${why.join('; ') || 'it says no reason'}`,
      `work request ${id}`,
      'correct what the reason says, then go on with the same command',
    );
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

/** Asks again and again, ever less often, until the answer is the last. */
export async function polled<Answer>(
  signal: AbortSignal,
  ask: () => Promise<Answer>,
  isLast: (answer: Answer) => boolean,
): Promise<Answer> {
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(1.5 * pauseMs, LONGEST_PAUSE_MS)) {
    const answer = await ask();
    if (isLast(answer)) return answer;
    await pause(pauseMs, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}
