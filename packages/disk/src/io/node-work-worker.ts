import { parentPort, workerData } from 'node:worker_threads';
import { runTask, type WorkTask } from './node-tasks.ts';
import type { ThreadAnswer, ThreadMessage } from './node-threads.ts';

const claims: Int32Array = workerData;

// One task after the other, in memory that it shares with the asker.
parentPort?.on('message', ({ task, claim }: ThreadMessage<WorkTask>) => {
  const isMine = Atomics.exchange(claims, claim, 1) === 0;
  parentPort?.postMessage(isMine ? answerTo(task) : ({ taken: true } satisfies ThreadAnswer<never>));
});

function answerTo(task: WorkTask): ThreadAnswer<readonly number[]> {
  try {
    return { answer: runTask(task) };
  } catch (error) {
    return { failure: failureOf(error) };
  }
}

/** What of an error crosses to another thread: its class does not. */
export interface TaskFailure {
  readonly name: string;
  readonly message: string;
  readonly code?: string;
  readonly syscall?: string;
  readonly sourceBytes?: number;
}

function failureOf(error: unknown): TaskFailure {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  return { ...error, name: error.name, message: error.message };
}
