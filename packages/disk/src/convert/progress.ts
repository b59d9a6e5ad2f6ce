/** How far a long operation has come. */
export interface Progress {
  /** `scan`, `copy`, `compress`, `digest`, `compare`, `check`. */
  readonly phase: string;
  /** Guest bytes done and to do in this phase; zeros and holes count when they are passed. */
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export type ProgressListener = (progress: Progress) => void;
