/** What gets jobs done: in this process (JobRunner), or through a queue that others listen to. */
export interface JobDispatcher {
  start(): Promise<void>;
  /** There may be work, or something to cancel. Cheap; never throws. */
  wake(): void;
  /** Returns when nothing of ours runs; what ran waits in the queue with its checkpoint. */
  stop(): Promise<void>;
}
