import { delegatedDisk } from '../disk/delegated-disk.ts';
import type { Disk } from '../disk/disk.ts';
import { denyReferences } from '../disk/reference-gate.ts';
import { ImageError } from '../errors.ts';
import type { OpenOptions } from '../formats/format.ts';
import type { ByteSource } from '../io/byte-source.ts';

/**
 * Opens an image that stands inside a file, as one of the formats that may stand there. Names inside it are
 * refused: what they meant is not in the file. Throws IMAGE_UNSUPPORTED for another format.
 */
export async function openInnerImage(
  source: ByteSource,
  allowed: readonly string[],
  options: Pick<OpenOptions, 'signal' | 'snapshot'>,
): Promise<Disk> {
  const { openDisk } = await import('../formats/open.ts');
  const format = await innerFormat(source, allowed, options.signal);
  return openDisk(source, { ...options, format, references: denyReferences });
}

/** The name of the format that the bytes carry the mark of. */
export async function innerFormat(
  source: ByteSource,
  allowed: readonly string[],
  signal?: AbortSignal,
): Promise<string> {
  // The registry lists the formats that call this: imported when needed, so that neither waits for the other.
  const { probeFormat } = await import('../formats/probe.ts');
  const { name, title } = await probeFormat(source, signal);
  if (allowed.includes(name)) return name;
  throw new ImageError(
    'IMAGE_UNSUPPORTED',
    `${source.name} is ${title}, where ${allowed.join(' or ')} is expected`,
    {
      structure: 'disk in an archive',
      hint: 'unpack the archive with tar -x, and use the disk image that is inside',
    },
  );
}

/** A disk under the name of the file that it stands in, with what that file says, also when it says it later. */
export function containedDisk(
  inner: Disk,
  outer: Pick<Disk, 'format' | 'details' | 'warnings' | 'drain'>,
): Disk {
  return delegatedDisk(inner, {
    format: outer.format,
    get details() {
      return { ...outer.details, disk: { format: inner.format, ...inner.details } };
    },
    get warnings() {
      return [...outer.warnings, ...inner.warnings];
    },
    ...(outer.drain && { drain: outer.drain }),
  });
}
