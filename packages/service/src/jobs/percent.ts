/** From where to where each phase of a job takes the whole of it, in percent: about as long as each takes. */
const phases: Readonly<Record<string, Readonly<Record<string, readonly [from: number, to: number]>>>> = {
  'image-import': { open: [0, 1], check: [1, 5], copy: [5, 70], verify: [70, 99] },
  'image-export': { plan: [0, 1], write: [1, 70], compress: [1, 70], send: [1, 70], verify: [70, 99] },
  'image-capture': { capture: [0, 1], copy: [1, 70], verify: [70, 99] },
  'instance-launch': { check: [0, 1], volumes: [1, 5], copy: [1, 90], start: [90, 99] },
  'object-copy': { open: [0, 1], copy: [0, 99], send: [1, 95], verify: [95, 99] },
};
/** A job without such a table is one phase. */
const WHOLE = [0, 99] as const;

interface PhaseProgress {
  readonly phase: string;
  readonly doneBytes: number;
  readonly totalBytes: number | undefined;
}

/** How much of a job is done, 0 to 99: only its success is all of it. */
export function percentDone(kind: string, { phase, doneBytes, totalBytes = 0 }: PhaseProgress): number {
  const [from, to] = phases[kind]?.[phase] ?? WHOLE;
  const share = totalBytes > 0 ? Math.min(1, doneBytes / totalBytes) : 0;
  return Math.floor(from + (to - from) * share);
}
