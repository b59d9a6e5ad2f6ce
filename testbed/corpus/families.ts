import type { Family } from './case.ts';
import { qcow2 } from './qcow2.ts';

/** Every family of hostile images; a new one is one file and one line here. */
export const families: readonly Family[] = [qcow2];
