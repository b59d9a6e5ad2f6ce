import { latin1Text } from '../../bytes/fields.ts';
import { ImageError } from '../../errors.ts';
import * as limits from './limits.ts';

const STRUCTURE = 'VMDK descriptor';
/** parentCID of a disk without a parent. */
const NO_PARENT = 0xffffffff;

/** One line of the extent description: ACCESS SECTORS TYPE ["file" [OFFSET ...]]. */
export interface DescriptorExtent {
  readonly access: string;
  readonly sectorCount: number;
  readonly type: string;
  /** As the descriptor spells it; absent for ZERO. */
  readonly fileName: string | undefined;
  /** Where the extent begins in its file. */
  readonly offsetSectors: number;
}

/** The text that describes a disk: a file of its own, or embedded in a sparse extent. */
export interface Descriptor {
  readonly extents: readonly DescriptorExtent[];
  /** Keys that occur more than once; the first value counts. */
  readonly duplicateKeys: readonly string[];
  /** The value of a key of the header or the disk database, without quotes; keys in any case. */
  value(key: string): string | undefined;
}

/**
 * True when these bytes begin as a descriptor does: with its usual first line, or with nothing but comments
 * and blank lines before `version=`.
 */
export function looksLikeDescriptor(head: Uint8Array): boolean {
  // Of most files that are asked for the first byte tells; to cut them into lines takes 2 ms.
  if (!/^[\s#v]/i.test(latin1Text(head.subarray(0, 1)))) return false;
  for (const [index, line] of textLines(latin1Text(head)).entries()) {
    if (index === 0 && /^# ?disk descriptor ?file\b/i.test(line)) return true;
    if (line !== '' && !line.startsWith('#')) return /^version\s*=\s*[123]$/i.test(line);
  }
  return false;
}

/** Throws IMAGE_MALFORMED or IMAGE_LIMIT for extent lines that make no sense. Ends at the first NUL. */
export function parseDescriptor(bytes: Uint8Array): Descriptor {
  const values = new Map<string, string>();
  const duplicateKeys: string[] = [];
  const extents: DescriptorExtent[] = [];
  for (const line of textLines(decodeText(bytes))) {
    if (line === '' || line.startsWith('#')) continue;
    if (/^(RW|RDONLY|NOACCESS)\s/i.test(line)) {
      extents.push(parseExtent(line));
      if (extents.length > limits.DESCRIPTOR_EXTENTS_MAX) {
        throw new ImageError('IMAGE_LIMIT', 'the VMDK descriptor has more than 1100 extents', {
          structure: STRUCTURE,
        });
      }
      continue;
    }
    const equals = line.indexOf('=');
    if (equals < 1) continue;
    const key = line.slice(0, equals).trim().toLowerCase();
    if (values.has(key)) duplicateKeys.push(key);
    else values.set(key, unquote(line.slice(equals + 1).trim()));
  }
  return { extents, duplicateKeys, value: (key) => values.get(key.toLowerCase()) };
}

/** True when the descriptor's disk is a delta: what it does not hold is in a parent. */
export function isDelta(descriptor: Descriptor): boolean {
  return parentContentId(descriptor) !== undefined;
}

/** The CID that the descriptor's parent must have; undefined for a disk without a parent. */
export function parentContentId(descriptor: Descriptor): number | undefined {
  const text = descriptor.value('parentCID');
  if (text === undefined) return undefined;
  const id = contentIdOf(text);
  if (id === undefined) {
    throw new ImageError(
      'IMAGE_MALFORMED',
      `parentCID ${JSON.stringify(text.slice(0, 40))} is not a hexadecimal id`,
      { structure: STRUCTURE },
    );
  }
  return id === NO_PARENT ? undefined : id;
}

/** A CID, which is written in hexadecimal without a prefix; undefined for anything else. */
export function contentIdOf(text: string): number | undefined {
  return /^[0-9a-f]{1,8}$/i.test(text) ? Number.parseInt(text, 16) : undefined;
}

function parseExtent(line: string): DescriptorExtent {
  const malformed = (): never => {
    throw new ImageError(
      'IMAGE_MALFORMED',
      `the VMDK extent line ${JSON.stringify(line.slice(0, 200))} makes no sense`,
      {
        structure: STRUCTURE,
      },
    );
  };
  const match = /^(\w+)\s+(\d+)\s+(\w+)(.*)$/.exec(line);
  if (match === null) return malformed();
  const [, access = '', sectors = '', type = '', rest = ''] = match;
  const sectorCount = Number(sectors);
  if (sectorCount > limits.DESCRIPTOR_EXTENT_SECTORS_MAX) {
    throw new ImageError('IMAGE_LIMIT', `a VMDK extent of ${sectors.slice(0, 40)} sectors is above 8 PiB`, {
      structure: STRUCTURE,
    });
  }
  const extent = { access: access.toUpperCase(), sectorCount, type: type.toUpperCase() };
  const tail = rest.trim();
  if (tail === '') {
    return extent.type === 'ZERO' ? { ...extent, fileName: undefined, offsetSectors: 0 } : malformed();
  }
  const named = /^"([^"]+)"(.*)$/.exec(tail);
  if (named === null) return malformed();
  const [offset = '0'] = (named[2] ?? '')
    .trim()
    .split(/\s+/)
    .filter((word) => word !== '');
  const offsetSectors = /^\d+$/.test(offset) ? Number(offset) : Number.NaN;
  if (!(offsetSectors <= limits.DESCRIPTOR_EXTENT_SECTORS_MAX)) return malformed();
  return { ...extent, fileName: named[1], offsetSectors };
}

/** Lines without their ends and surrounding blanks, up to the first NUL. */
function textLines(text: string): string[] {
  const nul = text.indexOf('\0');
  return (nul < 0 ? text : text.slice(0, nul)).split('\n').map((line) => line.trim());
}

function unquote(text: string): string {
  return text.length > 1 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;
}

/** The text in the encoding that it declares, for file names; UTF-8 when it declares none that is known. */
function decodeText(bytes: Uint8Array): string {
  const declared = /^[ \t]*encoding[ \t]*=[ \t]*"([\w-]{1,40})"/im.exec(latin1Text(bytes))?.[1] ?? 'utf-8';
  try {
    return new TextDecoder(declared).decode(bytes);
  } catch {
    return new TextDecoder().decode(bytes);
  }
}
