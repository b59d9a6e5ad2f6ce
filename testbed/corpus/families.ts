import type { Family } from './case.ts';
import { qcow2 } from './qcow2.ts';
import { vdi } from './vdi.ts';
import { vhd } from './vhd.ts';
import { vmdk } from './vmdk.ts';

/** Every family of hostile images; a new one is one file and one line here. */
export const families: readonly Family[] = [qcow2, vmdk, vdi, vhd];
