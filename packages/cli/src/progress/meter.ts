/** How far long work has come: the engine's progress, or that of a job. */
export interface Step {
  readonly phase: string;
  readonly doneBytes: number;
  /** Null when nobody knows how much there is. */
  readonly totalBytes: number | null;
  /** Of work in several phases, all of it: 0 to 100. */
  readonly overallPercent?: number;
}

export interface Reading extends Step {
  readonly bytesPerSecond: number | null;
  /** Null as long as the rate or the total is not known. */
  readonly etaSeconds: number | null;
}

/** The rate is an average over about this long: steady to the eye, yet it follows a stall. */
const WINDOW_MS = 5000;

/** Makes rate and remaining time from steps. Parts end out of order: what was reached is never taken back. */
export class Meter {
  readonly #nowMs: () => number;
  #phase: string | undefined;
  #doneBytes = 0;
  #startedMs = 0;
  #lastMs = 0;
  #lastBytes = 0;
  #bytesPerMs: number | null = null;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  read(step: Step): Reading {
    const nowMs = this.#nowMs();
    if (step.phase !== this.#phase) this.#begin(step, nowMs);
    this.#doneBytes = Math.max(this.#doneBytes, step.doneBytes);
    this.#measure(nowMs);
    const bytesPerSecond = this.#bytesPerMs === null ? null : Math.round(this.#bytesPerMs * 1000);
    const { phase, totalBytes, overallPercent } = step;
    const leftBytes = totalBytes === null ? null : Math.max(0, totalBytes - this.#doneBytes);
    const etaSeconds = leftBytes === null || !bytesPerSecond ? null : Math.round(leftBytes / bytesPerSecond);
    const reading = { phase, doneBytes: this.#doneBytes, totalBytes, bytesPerSecond, etaSeconds };
    return overallPercent === undefined ? reading : { ...reading, overallPercent };
  }

  #begin(step: Step, nowMs: number): void {
    this.#phase = step.phase;
    this.#doneBytes = step.doneBytes;
    this.#startedMs = nowMs;
    this.#lastMs = nowMs;
    this.#lastBytes = step.doneBytes;
    this.#bytesPerMs = null;
  }

  #measure(nowMs: number): void {
    const elapsedMs = nowMs - this.#lastMs;
    if (elapsedMs < 100) return;
    const bytesPerMs = (this.#doneBytes - this.#lastBytes) / elapsedMs;
    // Young phases weigh all their time alike; later ones forget.
    const weight = Math.min(1, elapsedMs / Math.min(WINDOW_MS, nowMs - this.#startedMs));
    this.#bytesPerMs =
      this.#bytesPerMs === null ? bytesPerMs : this.#bytesPerMs + weight * (bytesPerMs - this.#bytesPerMs);
    this.#lastMs = nowMs;
    this.#lastBytes = this.#doneBytes;
  }
}
