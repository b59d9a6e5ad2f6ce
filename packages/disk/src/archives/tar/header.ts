import { hasMagic, isZero, latin1Text, utf8Bytes, viewOf } from '../../bytes/fields.ts';
import { toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError, invariant } from '../../errors.ts';
import { OCTAL_SIZE_MAX } from './limits.ts';

export const TAR_BLOCK_BYTES = 512;
const STRUCTURE = 'tar header';

/** One header block, as POSIX (ustar, "pax Interchange Format") and GNU tar lay it out. */
export interface TarHeader {
  readonly name: string;
  readonly lengthBytes: number;
  /** One character; `0` for the NUL of old archives. */
  readonly typeFlag: string;
}

/** Reads a block that is not all zero. Throws IMAGE_MALFORMED when its checksum or a field is wrong. */
export function decodeTarHeader(block: Uint8Array, offsetBytes: number): TarHeader {
  const place = { structure: STRUCTURE, offsetBytes };
  requireChecksum(block, offsetBytes);
  const isPosix = hasMagic(block, 'ustar\0', 257);
  if (!isPosix && !hasMagic(block, 'ustar  \0', 257) && !isZero(block.subarray(257, 265))) {
    throw new ImageError(
      'IMAGE_UNSUPPORTED',
      'a tar header is neither POSIX, GNU nor of the old kind',
      place,
    );
  }
  const prefix = isPosix ? textField(block, 345, 155) : '';
  const name = textField(block, 0, 100);
  const typeFlag = String.fromCharCode(block[156] ?? 0);
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    lengthBytes: numberField(block, 124, 12, offsetBytes),
    typeFlag: typeFlag === '\0' ? '0' : typeFlag,
  };
}

export function isTarHeader(head: Uint8Array): boolean {
  return hasMagic(head, 'ustar\0', 257) || hasMagic(head, 'ustar  \0', 257);
}

/** The sum of all bytes with the checksum's own as spaces; some old programs summed them as signed. */
function requireChecksum(block: Uint8Array, offsetBytes: number): void {
  let unsigned = 0;
  let signed = 0;
  for (const [i, stored] of block.entries()) {
    const byte = i >= 148 && i < 156 ? 0x20 : stored;
    unsigned += byte;
    signed += byte < 128 ? byte : byte - 256;
  }
  const sum = numberField(block, 148, 8, offsetBytes);
  if (sum === unsigned || sum === signed) return;
  throw new ImageError('IMAGE_MALFORMED', 'the checksum of a tar header is wrong', {
    structure: STRUCTURE,
    offsetBytes: offsetBytes + 148,
  });
}

/** Octal digits, or GNU's base 256 where the first bit is set. */
function numberField(block: Uint8Array, at: number, lengthBytes: number, offsetBytes: number): number {
  const bytes = block.subarray(at, at + lengthBytes);
  const place = { structure: `${STRUCTURE} number`, offsetBytes: offsetBytes + at };
  const first = bytes[0] ?? 0;
  if (first >= 0x80) {
    if (first >= 0xc0) throw new ImageError('IMAGE_MALFORMED', 'a number of a tar header is negative', place);
    let value = BigInt(first - 0x80);
    for (const byte of bytes.subarray(1)) value = value * 256n + BigInt(byte);
    return toSafeInteger(value, place);
  }
  const digits = /^ *([0-7]*)[ \0]*$/.exec(latin1Text(bytes))?.[1];
  if (digits === undefined)
    throw new ImageError('IMAGE_MALFORMED', 'a number of a tar header is not octal', place);
  return digits === '' ? 0 : Number.parseInt(digits, 8);
}

function textField(block: Uint8Array, at: number, lengthBytes: number): string {
  return memberName(untilNul(block.subarray(at, at + lengthBytes)));
}

export function untilNul(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** UTF-8, as everybody writes it; old archives hold names of other encodings, which stay apart from each other. */
export function memberName(bytes: Uint8Array): string {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return latin1Text(bytes);
  }
}

/**
 * The header of a file that belongs to root with mode 0644. Sizes above 8 GiB - 1 are written in base 256: GNU
 * tar, bsdtar, Python and VirtualBox read that, and unlike a PAX record it takes no block more, so that what
 * follows stands at the same place whatever the size turns out to be.
 */
export function encodeTarHeader(name: string, lengthBytes: number, modifiedAtSeconds: number): Uint8Array {
  const block = new Uint8Array(TAR_BLOCK_BYTES);
  const ascii = (at: number, text: string) => block.set(utf8Bytes(text), at);
  const octal = (at: number, value: number, digits: number) =>
    ascii(at, value.toString(8).padStart(digits, '0'));
  invariant(/^[\x21-\x7e]{1,100}$/.test(name), 'a member that we write has a short ASCII name');
  ascii(0, name);
  octal(100, 0o644, 7);
  octal(108, 0, 7);
  octal(116, 0, 7);
  if (lengthBytes <= OCTAL_SIZE_MAX) octal(124, lengthBytes, 11);
  else {
    block[124] = 0x80;
    viewOf(block).setBigUint64(128, BigInt(lengthBytes));
  }
  octal(136, modifiedAtSeconds, 11);
  ascii(148, ' '.repeat(8));
  ascii(156, '0');
  ascii(257, 'ustar\x0000');
  octal(329, 0, 7);
  octal(337, 0, 7);
  octal(
    148,
    block.reduce((sum, byte) => sum + byte, 0),
    6,
  );
  block[154] = 0;
  return block;
}
