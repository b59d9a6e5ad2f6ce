import type { Logger } from '../logger.ts';
import type { JobDispatcher } from './dispatcher.ts';
import type { JobHandlers } from './handler.ts';
import type { JobQueue } from './queue.ts';
import { JobRunner } from './runner.ts';

/** Kinds of jobs that wait for each other and for no others. */
export interface JobLane {
  readonly handlers: JobHandlers;
  /** Jobs at a time; by default as many as the runner says. */
  readonly concurrency?: number;
}

/** The one worker of a database, whose lanes work side by side. */
export function jobLanes(
  { queue, logger }: { readonly queue: JobQueue; readonly logger: Logger },
  lanes: readonly JobLane[],
): JobDispatcher {
  const runners = lanes.map(
    (lane, index) =>
      // The first takes over what a dead worker left, of all lanes, before any of them begins.
      new JobRunner({ ...lane, queue, logger, soleWorker: index === 0 }),
  );
  return {
    async start() {
      for (const runner of runners) await runner.start();
    },
    wake() {
      for (const runner of runners) runner.wake();
    },
    async stop() {
      await Promise.all(runners.map((runner) => runner.stop()));
    },
  };
}
