import { ImageError } from '../../errors.ts';
import type { OpenOptions } from '../../formats/format.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { chosenDisk } from '../choice.ts';
import { type OvfDescription, type OvfDisk, type OvfFile, parseOvf } from '../ovf/envelope.ts';
import { OVF_BYTES_MAX } from '../ovf/limits.ts';
import { type TarMember, tarMembers } from '../tar/reader.ts';

/** A disk of an appliance that has a file. */
export interface ApplianceDisk extends OvfDisk {
  readonly file: OvfFile;
}

/** A disk, and the member of the archive that holds it. */
export interface FoundDisk {
  readonly disk: ApplianceDisk;
  readonly member: TarMember;
}

export interface OvaContents {
  readonly ovf: OvfDescription;
  readonly found: FoundDisk;
}

/**
 * Finds the descriptor and the disk that is meant. Of an arriving archive the descriptor has to come first, as
 * it has in every OVA that follows DSP0243. Throws ImageError.
 */
export async function ovaContents(source: ByteSource, options: OpenOptions): Promise<OvaContents> {
  const { signal, member: asked } = options;
  const members: TarMember[] = [];
  let ovf: OvfDescription | undefined;
  let chosen: ApplianceDisk | undefined;
  for await (const member of tarMembers(source, signal)) {
    members.push(member);
    if (isDescriptor(member)) {
      if (ovf !== undefined) throw malformed(source, 'holds more than one OVF descriptor');
      ovf = parseOvf(await wholeMember(member, OVF_BYTES_MAX, signal));
      chosen = chosenDisk(disksOf(ovf), ({ id, file }) => [id, file.href], asked, source.name);
    }
    if (!source.sequential) continue;
    if (ovf === undefined) throw lateDescriptor(source);
    if (chosen !== undefined && isFile(member, chosen.file)) return { ovf, found: { disk: chosen, member } };
  }
  if (ovf === undefined || chosen === undefined) throw malformed(source, 'holds no OVF descriptor');
  return { ovf, found: { disk: chosen, member: memberOf(members, chosen.file, source) } };
}

export function isDescriptor({ kind, name }: TarMember): boolean {
  return kind === 'file' && name.toLowerCase().endsWith('.ovf');
}

export function disksOf(ovf: OvfDescription): ApplianceDisk[] {
  return ovf.disks.filter((disk): disk is ApplianceDisk => disk.file !== undefined);
}

/** The member that a file of the descriptor means. Throws IMAGE_MALFORMED when it is not there. */
export function memberOf(members: readonly TarMember[], file: OvfFile, source: ByteSource): TarMember {
  const found = members.find((member) => isFile(member, file));
  if (found !== undefined) return found;
  throw malformed(source, `does not hold ${JSON.stringify(file.href)}, which its descriptor names`);
}

/** An href is a relative reference, which some programs escape and others do not. */
function isFile(member: TarMember, { href }: OvfFile): boolean {
  return member.name === href.normalize('NFC') || member.name === unescaped(href).normalize('NFC');
}

function unescaped(href: string): string {
  try {
    return decodeURIComponent(href);
  } catch {
    return href;
  }
}

export async function wholeMember(
  member: TarMember,
  limitBytes: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const source = member.open();
  if (member.lengthBytes > limitBytes) {
    throw new ImageError(
      'IMAGE_LIMIT',
      `${member.name} has ${member.lengthBytes} bytes: ${limitBytes} are the most`,
      {
        structure: 'OVA member',
        offsetBytes: member.offsetBytes,
      },
    );
  }
  const bytes = new Uint8Array(member.lengthBytes);
  await source.read(0, bytes, signal);
  return bytes;
}

function lateDescriptor({ name }: ByteSource): ImageError {
  return new ImageError('IMAGE_NOT_SEQUENTIAL', `${name} does not begin with its OVF descriptor`, {
    structure: 'order of the archive',
    hint: 'put it into a file first: there the order is of no matter',
  });
}

function malformed({ name }: ByteSource, what: string): ImageError {
  return new ImageError('IMAGE_MALFORMED', `${name} ${what}`, { structure: 'OVA archive' });
}
