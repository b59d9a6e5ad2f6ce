import { ImageError } from '@gantry/disk';

/** What no operating system takes in a name, and what could not be written into the settings. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const CONTROLS = /[\u0000-\u001f\u007f]/;

/** A text of one line, which becomes the name of a folder too (VirtualBox replaces what that cannot hold). */
export function requireName(text: string, field = 'name'): string {
  if (text !== '' && !CONTROLS.test(text)) return requireText(text, field);
  throw refused(field, `${shown(text)} is empty or has control characters`, 'write one line of plain text');
}

/** A text of any lines. */
export function requireText(text: string, field: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  const isPlain = !/[\u0000-\u0008\u000b-\u001f\u007f\ufffe\uffff]/.test(text);
  if (isPlain && text.isWellFormed()) return text;
  throw refused(field, `${shown(text)} has control characters or halves of letters`, 'write plain text');
}

/** Lower case, without braces. The nil UUID is none. */
export function requireUuid(text: string, field: string): string {
  const uuid = text.toLowerCase();
  const isUuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid) && /[1-9a-f]/.test(uuid);
  if (isUuid) return uuid;
  throw refused(field, `${shown(text)} is no UUID`, 'write 32 hexadecimal digits in the usual five groups');
}

export function refused(field: string, what: string, hint: string): ImageError {
  return new ImageError('IMAGE_OPTION', `${field}: ${what}`, { structure: `machine ${field}`, hint });
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}
