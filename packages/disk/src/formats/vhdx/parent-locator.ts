import { viewOf } from '../../bytes/fields.ts';
import { ImageError } from '../../errors.ts';
import { guidAt, NULL_GUID } from './guids.ts';
import { LOCATOR_ENTRIES_MAX } from './limits.ts';

export const LOCATOR_STRUCTURE = 'VHDX parent locator';
/** The one locator type there is: a parent that is a VHDX file. */
export const LOCATOR_TYPE_VHDX = 'b04aefb7-d19e-4a81-b789-25b8e9445913';
const LOCATOR_HEADER_BYTES = 20;
const LOCATOR_ENTRY_BYTES = 12;
/** The names of the parent, the ones to ask for first in front (MS-VHDX 2.6.2.6.3). */
const PATH_KEYS: readonly string[] = ['relative_path', 'absolute_win32_path', 'volume_path'];

export interface VhdxParentLocator {
  /** As the image spells it. */
  readonly name: string;
  /** DataWriteGuids that the parent may have, lower case without braces. */
  readonly linkages: readonly string[];
}

/** Parses the item. Throws IMAGE_MALFORMED for damage, IMAGE_LIMIT, IMAGE_UNSUPPORTED for another type of locator. */
export function parseParentLocator(bytes: Uint8Array, offsetBytes: number): VhdxParentLocator {
  const place = { structure: LOCATOR_STRUCTURE, offsetBytes };
  const refuse = (message: string): never => {
    throw new ImageError('IMAGE_MALFORMED', message, place);
  };
  if (bytes.length < LOCATOR_HEADER_BYTES) refuse('the VHDX parent locator is too short');
  const type = guidAt(bytes, 0);
  if (type !== LOCATOR_TYPE_VHDX) {
    throw new ImageError('IMAGE_UNSUPPORTED', `the VHDX parent locator type ${type} is not known`, place);
  }
  const view = viewOf(bytes);
  const count = view.getUint16(18, true);
  if (count > LOCATOR_ENTRIES_MAX) {
    throw new ImageError('IMAGE_LIMIT', `the VHDX parent locator says ${count} entries`, place);
  }
  if (LOCATOR_HEADER_BYTES + count * LOCATOR_ENTRY_BYTES > bytes.length) {
    refuse(`the VHDX parent locator says ${count} entries, more than it has room for`);
  }
  const text = (offset: number, length: number): string => {
    if (offset + length > bytes.length) refuse('a text of the VHDX parent locator stands outside of it');
    return new TextDecoder('utf-16le').decode(bytes.subarray(offset, offset + length)).replace(/\0.*$/su, '');
  };
  const values = new Map<string, string>();
  for (let i = 0; i < count; i++) {
    const at = LOCATOR_HEADER_BYTES + i * LOCATOR_ENTRY_BYTES;
    const key = text(view.getUint32(at, true), view.getUint16(at + 8, true));
    values.set(key, text(view.getUint32(at + 4, true), view.getUint16(at + 10, true)));
  }
  const name = PATH_KEYS.map((key) => values.get(key)).find((path) => path !== undefined && path !== '');
  if (name === undefined) return refuse('the VHDX parent locator names no file');
  const linkages = ['parent_linkage', 'parent_linkage2']
    .map(
      (key) =>
        values
          .get(key)
          ?.replace(/^\{|\}$/g, '')
          .toLowerCase() ?? '',
    )
    .filter((guid) => guid !== '' && guid !== NULL_GUID);
  if (linkages.length === 0) refuse('the VHDX parent locator has no parent_linkage');
  return { name, linkages };
}
