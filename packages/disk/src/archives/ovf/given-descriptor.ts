import { utf8Bytes } from '../../bytes/fields.ts';
import { ImageError, invariant } from '../../errors.ts';
import { parseOvf } from './envelope.ts';
import { OVF_BYTES_MAX } from './limits.ts';
import { DISK_FORMAT } from './new-descriptor.ts';
import { attributeOf, descendants, parseXml, type TextRange, type XmlElement } from './xml.ts';

/** A descriptor that was given, made to fit the one disk that is written. */
export interface GivenDescriptor {
  /** Of the machine; absent where it has none. */
  readonly name?: string | undefined;
  /** As long for every length of the disk's file: it is filled up with spaces. */
  encode(disk: DescribedDisk, fileBytes: number): Uint8Array;
}

export interface DescribedDisk {
  /** Of plain letters. */
  readonly fileName: string;
  readonly virtualSizeBytes: number;
}

/** A part of the text, and what stands there instead. */
interface Edit extends TextRange {
  readonly text: string;
}

/**
 * Takes a descriptor that has one disk in a file, and no other file. Its `href`, sizes and format become those of the
 * disk that is written; all else stays as it is. Throws IMAGE_OPTION.
 */
export function parseGivenDescriptor(given: string): GivenDescriptor {
  const text = given.replace(/^\ufeff/, '').trimEnd();
  const [, encoding = 'utf-8'] = /^<\?xml\s[^>]*?\sencoding\s*=\s*["']([^"']*)["']/.exec(text) ?? [];
  if (encoding.toLowerCase() !== 'utf-8')
    throw refused(`it says that it is ${encoding}, and is written as UTF-8`);
  const { name, files, disks } = parsed(text);
  const stored = disks.filter(({ file }) => file !== undefined);
  const [disk] = stored;
  if (disk?.file === undefined || stored.length > 1 || files.length > 1) {
    throw refused(
      `it names ${files.length} files and ${stored.length} disks in them: an appliance of one disk is written`,
    );
  }
  const { file, parent } = disk;
  if (parent !== undefined) throw refused('its disk is the difference to another');
  if (file.isChunked || file.compression !== undefined)
    throw refused('its file is compressed, or cut into chunks');
  const root = parseXml(utf8Bytes(text));
  const [fileElement] = descendants(root, 'File');
  const diskElement = [...descendants(root, 'Disk')].find((each) => attributeOf(each, 'diskId') === disk.id);
  invariant(fileElement !== undefined && diskElement !== undefined, 'what was read is in the tree');
  const edited = ({ fileName, virtualSizeBytes }: DescribedDisk, fileBytes: number) =>
    withEdits(text, [
      ...edits(fileElement, 'href', { href: fileName, size: String(fileBytes) }),
      ...edits(diskElement, 'diskId', {
        capacity: String(virtualSizeBytes),
        capacityAllocationUnits: 'byte',
        format: DISK_FORMAT,
        // How much of another file was in use.
        populatedSize: undefined,
      }),
    ]);
  return {
    name,
    encode(described, fileBytes) {
      const longest = edited(described, Number.MAX_SAFE_INTEGER).length;
      const fitting = edited(described, fileBytes);
      invariant(fitting.length <= longest, 'no number is longer than the longest');
      const bytes = utf8Bytes(`${fitting}${' '.repeat(longest - fitting.length)}\n`);
      if (bytes.length > OVF_BYTES_MAX) throw refused(`it has ${bytes.length} bytes, and 1 MiB is the most`);
      return bytes;
    },
  };
}

function parsed(text: string): ReturnType<typeof parseOvf> {
  try {
    return parseOvf(utf8Bytes(text));
  } catch (error) {
    throw error instanceof ImageError ? refused(error.message) : error;
  }
}

/** Puts attributes into an element: in the place of those that are there, else behind `beside`, with its prefix. */
function edits(
  { attributes, attributeRanges }: XmlElement,
  beside: string,
  values: Readonly<Record<string, string | undefined>>,
): Edit[] {
  const writtenName = (name: string) =>
    [`ovf:${name}`, name].find((known) => attributes.has(known)) ??
    [...attributes.keys()].find((known) => known.endsWith(`:${name}`));
  const known = writtenName(beside) ?? beside;
  const prefix = known.slice(0, known.length - beside.length);
  const behind = attributeRanges.get(known)?.to ?? 0;
  return Object.entries(values).flatMap(([name, value]) => {
    const written = writtenName(name);
    const range = written === undefined ? undefined : attributeRanges.get(written);
    if (value === undefined) return range === undefined ? [] : [{ ...range, text: '' }];
    const text = ` ${written ?? `${prefix}${name}`}="${value}"`;
    return [range === undefined ? { from: behind, to: behind, text } : { ...range, text }];
  });
}

function withEdits(text: string, all: readonly Edit[]): string {
  let edited = '';
  let at = 0;
  for (const { from, to, text: instead } of [...all].sort((a, b) => a.from - b.from || a.to - b.to)) {
    edited += text.slice(at, from) + instead;
    at = to;
  }
  return edited + text.slice(at);
}

function refused(why: string): ImageError {
  return new ImageError('IMAGE_OPTION', `the descriptor cannot be written: ${why}`, {
    structure: 'option descriptor',
    hint: 'give the descriptor of a machine with one disk, such as gantry machine convert --to ovf writes',
  });
}
