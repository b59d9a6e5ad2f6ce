import { oci } from '../archives/oci/format.ts';
import { ova } from '../archives/ova/format.ts';
import { ImageError } from '../errors.ts';
import { wrappers } from '../wrappers/formats.ts';
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
  ...wrappers,
];

/** Formats that are known by their mark and refused by name. */
export const refusedFormats: readonly Format[] = refused;

/** All that the probe asks. */
export const recognisableFormats: readonly Format[] = [...formats, ...refusedFormats];

/**
 * The format of this name, or of `NAME.gz`, `NAME.zst`, `NAME.xz` for one in a compressed file. Throws
 * IMAGE_UNSUPPORTED for a name that is not known.
 */
export function formatNamed(name: string): Format {
  const format = recognisableFormats.find((candidate) => candidate.name === name);
  if (format !== undefined) return format;
  const around = wrappers.find(({ extensions: [ending = ''] }) => name.endsWith(`.${ending}`));
  const inner = formats.find((known) => name === `${known.name}.${around?.extensions[0]}`);
  if (around !== undefined && inner !== undefined && !wrappers.some((known) => known === inner)) {
    return around.around(inner);
  }
  throw new ImageError('IMAGE_UNSUPPORTED', `there is no format named ${JSON.stringify(name)}`, {
    structure: 'format name',
    hint: `use one of ${formats.map((known) => known.name).join(', ')}`,
  });
}
