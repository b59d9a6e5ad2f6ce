import type { OciClients } from '../oci/clients.ts';
import { cleanUp } from './clean-up.ts';
import { createImage, exportImage } from './cloud-steps.ts';
import { writeInstanceDisk } from './disk-step.ts';
import { writeMachineFiles } from './machine-step.ts';
import type { ImportMeter } from './progress.ts';
import type { ImportJournal } from './state.ts';

/** What every step is given. */
export interface ImportRun {
  readonly clients: OciClients;
  readonly journal: ImportJournal;
  /** The machine's, which holds the journal too. */
  readonly folder: string;
  /** Ranges that are read at once. */
  readonly parallel: number;
  readonly meter: ImportMeter;
  /** A sentence for the user. */
  readonly note: (text: string) => void;
}

/** The steps in order. Each finds out from the journal what of it is done, and leaves there what it did. */
export const importSteps: readonly ((run: ImportRun) => Promise<void>)[] = [
  createImage,
  exportImage,
  writeInstanceDisk,
  writeMachineFiles,
  cleanUp,
];
