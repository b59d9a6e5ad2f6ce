import { printable } from '../output/printable.ts';
import { durationText, sizeText } from '../output/quantities.ts';
import { Meter, type Reading, type Step } from './meter.ts';

export const progressModes = ['auto', 'tty', 'json', 'none'] as const;
export type ProgressMode = (typeof progressModes)[number];

/** Where progress is shown: standard error, or a buffer in tests. */
export interface ProgressTarget {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

/** A person sees no more, and a slow terminal must not slow the work. */
const REDRAW_MS = 100;
const ERASE_LINE = '\r\u001b[K';

/** Shows how far long work has come, and sentences in between, on standard error. */
export class ProgressReporter {
  readonly #mode: Exclude<ProgressMode, 'auto'>;
  readonly #target: ProgressTarget;
  readonly #nowMs: () => number;
  readonly #meter: Meter;
  #last: Reading | undefined;
  #shownMs = Number.NEGATIVE_INFINITY;
  #isShown = false;

  constructor(mode: ProgressMode, target: ProgressTarget, nowMs: () => number = () => performance.now()) {
    this.#mode = mode === 'auto' ? (target.isTTY === true ? 'tty' : 'none') : mode;
    this.#target = target;
    this.#nowMs = nowMs;
    this.#meter = new Meter(nowMs);
  }

  /** Takes a step; shown at most ten times a second, and always at the end of a phase. */
  readonly step = (step: Step): void => {
    if (this.#mode === 'none') return;
    if (this.#last !== undefined && this.#last.phase !== step.phase) this.#show(this.#last);
    this.#last = this.#meter.read(step);
    const nowMs = this.#nowMs();
    if (nowMs - this.#shownMs < REDRAW_MS) return;
    this.#shownMs = nowMs;
    this.#show(this.#last);
  };

  /** A sentence for the user, above the line of progress. Shown in every mode. */
  note(text: string): void {
    this.#erase();
    this.#target.write(`${printable(text)}\n`);
    if (this.#isShown && this.#last !== undefined) this.#show(this.#last);
  }

  /** Shows the last step, and takes the line of progress away. */
  end(): void {
    if (this.#last !== undefined && this.#mode === 'json') this.#show(this.#last);
    this.#erase();
    this.#isShown = false;
    this.#last = undefined;
  }

  #show(reading: Reading): void {
    if (this.#mode === 'json') this.#target.write(`${JSON.stringify(reading)}\n`);
    else {
      // A terminal that does not know its width says 0.
      const columns = this.#target.columns || 80;
      this.#target.write(`${ERASE_LINE}${readingText(reading).slice(0, columns - 1)}`);
      this.#isShown = true;
    }
  }

  #erase(): void {
    if (this.#mode === 'tty' && this.#isShown) this.#target.write(ERASE_LINE);
  }
}

/** `copy  45 %  1.20 GiB of 3 GiB  350 MiB/s  0:05 left`; with `62 % in all  ` before it, for work in several phases. */
export function readingText(reading: Reading): string {
  const { phase, doneBytes, totalBytes, bytesPerSecond, etaSeconds, overallPercent } = reading;
  const parts = [printable(phase)];
  if (overallPercent !== undefined) parts.unshift(`${Math.floor(overallPercent)} % in all`);
  if (totalBytes === null) {
    // Work of others, of which no bytes are counted.
    if (overallPercent !== undefined && doneBytes === 0) return parts.join('  ');
    parts.push(sizeText(doneBytes));
  } else {
    const percent = totalBytes === 0 ? 100 : Math.min(100, Math.floor((doneBytes / totalBytes) * 100));
    parts.push(`${percent} %`, `${sizeText(doneBytes)} of ${sizeText(totalBytes)}`);
  }
  if (bytesPerSecond !== null) parts.push(`${sizeText(bytesPerSecond)}/s`);
  if (etaSeconds !== null) parts.push(`${durationText(etaSeconds)} left`);
  return parts.join('  ');
}
