import { archives } from './archives.ts';
import { bombs } from './bombs.ts';
import type { Family } from './case.ts';
import { descriptors } from './descriptors.ts';
import { polyglots } from './polyglots.ts';
import { qcow } from './qcow.ts';
import { qcow2 } from './qcow2.ts';
import { raw } from './raw.ts';
import { vdi } from './vdi.ts';
import { vhd } from './vhd.ts';
import { vhdx } from './vhdx.ts';
import { vmdk } from './vmdk.ts';
import { wrapped } from './wrappers.ts';
import { zvhd } from './zvhd.ts';

/** Every family of hostile images; a new one is one file and one line here. */
export const families: readonly Family[] = [
  raw,
  qcow,
  qcow2,
  vmdk,
  descriptors,
  vdi,
  vhd,
  vhdx,
  zvhd,
  archives,
  wrapped,
  polyglots,
  bombs,
];
