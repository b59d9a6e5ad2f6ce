import { ImageError } from '@gantry/disk';
import { ownValue } from '../../own-value.ts';

/** An XML declaration stands at the very start and is short. */
const DECLARATION_BYTES_MAX = 256;

/**
 * The text of an XML document by its byte order mark, else by its declaration, else as UTF-8 (XML 1.0, appendix F).
 * UTF-8, UTF-16, ISO-8859-1 and US-ASCII are taken. Throws IMAGE_UNSUPPORTED for other encodings, IMAGE_MALFORMED for
 * bytes that are not of the one that is said.
 */
export function xmlText(bytes: Uint8Array, structure: string): string {
  const encoding = encodingByMark(bytes) ?? encodingByDeclaration(bytes);
  const decode = ownValue(decoders, encoding);
  if (decode === undefined) {
    throw new ImageError('IMAGE_UNSUPPORTED', `the encoding ${JSON.stringify(encoding)} is not read`, {
      structure,
      hint: 'save the file as UTF-8, and say so in its first line or leave that away',
    });
  }
  const text = decode(bytes);
  if (text !== undefined) return text;
  throw new ImageError('IMAGE_MALFORMED', `the text is not ${encoding}`, {
    structure,
    hint: 'save the file as UTF-8, and say so in its first line or leave that away',
  });
}

const decoders: Readonly<Record<string, (bytes: Uint8Array) => string | undefined>> = {
  'utf-8': (bytes) => decoded(bytes, 'utf-8'),
  'us-ascii': (bytes) => (bytes.every((byte) => byte < 0x80) ? latin1(bytes) : undefined),
  'iso-8859-1': latin1,
  'utf-16le': (bytes) => decoded(bytes, 'utf-16le'),
  'utf-16be': (bytes) => decoded(bytes, 'utf-16be'),
};

function encodingByMark([first, second, third, fourth]: Uint8Array): string | undefined {
  if (first === 0xef && second === 0xbb && third === 0xbf) return 'utf-8';
  if ((first === 0xff && second === 0xfe) || (first === 0x3c && second === 0 && third !== 0))
    return 'utf-16le';
  const isBigEndian = first === 0 && second === 0x3c && third === 0 && fourth !== 0;
  return (first === 0xfe && second === 0xff) || isBigEndian ? 'utf-16be' : undefined;
}

function encodingByDeclaration(bytes: Uint8Array): string {
  const start = latin1(bytes.subarray(0, DECLARATION_BYTES_MAX));
  const [, name = 'utf-8'] = /^<\?xml\s[^>]*?\sencoding\s*=\s*["']([^"']*)["']/.exec(start) ?? [];
  const lower = name.toLowerCase();
  if (lower === 'utf8') return 'utf-8';
  if (lower === 'ascii') return 'us-ascii';
  return lower === 'latin1' || lower === 'latin-1' ? 'iso-8859-1' : lower;
}

function decoded(bytes: Uint8Array, encoding: string): string | undefined {
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** By hand: the web's name `iso-8859-1` means windows-1252. */
function latin1(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
