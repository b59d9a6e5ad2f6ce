const WINDOW_MS = 10_000;
/** Less time than this says nothing about a rate. */
const LEAST_MS = 500;

interface Sample {
  readonly atMs: number;
  readonly doneBytes: number;
}

/** Bytes per second over the last seconds of one phase. */
export class RateWindow {
  readonly #samples: Sample[] = [];

  /** `doneBytes` is the phase's count at `atMs`, which does not go back. */
  add(atMs: number, doneBytes: number): void {
    this.#samples.push({ atMs, doneBytes });
    // The newest sample outside the window stays: the rate is measured from there.
    while (this.#samples.length > 2 && (this.#samples[1]?.atMs ?? atMs) <= atMs - WINDOW_MS)
      this.#samples.shift();
  }

  /** Undefined until enough time has passed. */
  bytesPerSecond(): number | undefined {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.atMs - first.atMs < LEAST_MS) return undefined;
    const bytes = Math.max(0, last.doneBytes - first.doneBytes);
    return Math.round((bytes * 1000) / (last.atMs - first.atMs));
  }
}
