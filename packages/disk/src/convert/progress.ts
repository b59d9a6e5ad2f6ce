/** How far a long operation has come. */
export interface Progress {
  /** `scan`, `copy`, `compress`, `digest`, `compare`, `check`. */
  readonly phase: string;
  /** Bytes done and to do in this phase, of the disk or, for `copy`, of the file; rises to the total. */
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export type ProgressListener = (progress: Progress) => void;
