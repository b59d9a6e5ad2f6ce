import { parentPort } from 'node:worker_threads';
import { runTask, type WorkTask } from './node-tasks.ts';

// One task after the other, in memory that it shares with the asker.
parentPort?.on('message', (task: WorkTask) => {
  try {
    parentPort?.postMessage({ answer: runTask(task) });
  } catch (error) {
    parentPort?.postMessage({ failure: failureOf(error) });
  }
});

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
  return { ...error, name: error.constructor.name, message: error.message };
}
