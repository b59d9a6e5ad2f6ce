/** How far an import has come. */
export interface ImportProgress {
  readonly phase: ImportPhase;
  /** Bytes done in this phase, where it has some. */
  readonly doneBytes: number;
  /** Null where nobody counts bytes: work inside the cloud. */
  readonly totalBytes: number | null;
  /** Of the whole import, 0 to 100; never falls. */
  readonly overallPercent: number;
}

export type ImportPhase = keyof typeof WEIGHTS;
export type ImportListener = (progress: ImportProgress) => void;

/**
 * How much of the whole each phase is: VirtualBox's weights (ApplianceImplImport.cpp, `ImportCloud`): create the image
 * 25 and wait 75, export 25 and wait 375, download 250, extract and convert 100, create the machine 50, clean up 3.
 * Downloading and converting are one phase here; a part of it is the reading back.
 */
const WEIGHTS = {
  'create image': 100,
  'export image': 400,
  download: 300,
  verify: 50,
  'write machine': 50,
  'clean up': 3,
};
const PHASES = Object.keys(WEIGHTS) as readonly ImportPhase[];
const TOTAL = PHASES.reduce((sum, phase) => sum + WEIGHTS[phase], 0);

/** Turns what each phase tells into progress of the whole. */
export class ImportMeter {
  readonly #listener: ImportListener;
  #overallPercent = 0;

  constructor(listener: ImportListener) {
    this.#listener = listener;
  }

  /** Work that says only which part of it is done, 0 to 1. */
  part(phase: ImportPhase, fraction: number): void {
    this.#tell(phase, fraction, 0, null);
  }

  bytes(phase: ImportPhase, doneBytes: number, totalBytes: number): void {
    this.#tell(phase, totalBytes === 0 ? 1 : doneBytes / totalBytes, doneBytes, totalBytes);
  }

  #tell(phase: ImportPhase, fraction: number, doneBytes: number, totalBytes: number | null): void {
    const before = PHASES.slice(0, PHASES.indexOf(phase)).reduce((sum, each) => sum + WEIGHTS[each], 0);
    const done = before + WEIGHTS[phase] * Math.min(1, Math.max(0, fraction));
    this.#overallPercent = Math.max(this.#overallPercent, (100 * done) / TOTAL);
    this.#listener({ phase, doneBytes, totalBytes, overallPercent: this.#overallPercent });
  }
}
