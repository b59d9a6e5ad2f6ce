import { archives } from './archives.ts';
import { bombs } from './bombs.ts';
import type { Family } from './case.ts';
import { polyglots } from './polyglots.ts';
import { qcow2 } from './qcow2.ts';
import { raw } from './raw.ts';
import { vdi } from './vdi.ts';
import { vhd } from './vhd.ts';
import { vhdx } from './vhdx.ts';
import { vmdk } from './vmdk.ts';

/** Every family of hostile images; a new one is one file and one line here. */
export const families: readonly Family[] = [raw, qcow2, vmdk, vdi, vhd, vhdx, archives, polyglots, bombs];
