import { ImageError } from '@gantry/disk';
import { Fields } from '../fields.ts';

const FIXUP_BYTES = 512;

/** The last two bytes of each 512 were put aside, so that a torn write shows (update sequence). */
export function fixedUp(bytes: Uint8Array, magic: string, structure: string): Fields {
  const fields = new Fields(bytes, structure);
  if (!fields.has(0, magic)) throw fields.malformed(`it does not begin with ${magic}`);
  const at = fields.u16(4);
  const count = fields.u16(6);
  if ((count - 1) * FIXUP_BYTES !== bytes.length) throw fields.malformed('its update sequence does not fit');
  const sequence = fields.u16(at);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let index = 1; index < count; index++) {
    const end = index * FIXUP_BYTES - 2;
    if (fields.u16(end) !== sequence)
      throw new ImageError('IMAGE_MALFORMED', `${structure}: it was written in part only`, { structure });
    view.setUint16(end, fields.u16(at + index * 2), true);
  }
  return fields;
}
