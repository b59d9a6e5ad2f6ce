import { oci } from '../archives/oci/format.ts';
import { ova } from '../archives/ova/format.ts';
import { ImageError } from '../errors.ts';
import type { Format } from './format.ts';
import { iso } from './iso/format.ts';
import { qcow } from './qcow/format.ts';
import { qcow2 } from './qcow2/format.ts';
import { raw } from './raw/format.ts';
import { refused } from './refused/refused.ts';
import { vdi } from './vdi/format.ts';
import { vhd } from './vhd/format.ts';
import { vhdx } from './vhdx/format.ts';
import { vmdk } from './vmdk/format.ts';
import { zvhd, zvhd2 } from './zvhd/format.ts';

/** Every format that is read or written; a new one is one folder and one line here. */
export const formats: readonly Format[] = [
  raw,
  qcow2,
  qcow,
  vdi,
  vhd,
  vhdx,
  vmdk,
  zvhd,
  zvhd2,
  iso,
  ova,
  oci,
];

/** Formats that are known by their mark and refused by name. */
export const refusedFormats: readonly Format[] = refused;

/** All that the probe asks. */
export const recognisableFormats: readonly Format[] = [...formats, ...refusedFormats];

/** The format of this name. Throws IMAGE_UNSUPPORTED for a name that is not known. */
export function formatNamed(name: string): Format {
  const format = recognisableFormats.find((candidate) => candidate.name === name);
  if (format !== undefined) return format;
  throw new ImageError('IMAGE_UNSUPPORTED', `there is no format named ${JSON.stringify(name)}`, {
    structure: 'format name',
    hint: `use one of ${formats.map((known) => known.name).join(', ')}`,
  });
}
