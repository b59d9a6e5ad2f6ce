import { hasMagic } from '../../bytes/fields.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import type { OpenOptions } from '../../formats/format.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { chosenDisk } from '../choice.ts';
import { containedDisk, openInnerImage } from '../inner-image.ts';
import { METADATA_NAME, QCOW2_MARK } from '../kind.ts';
import { type TarMember, tarMembers } from '../tar/reader.ts';
import { METADATA_BYTES_MAX } from './limits.ts';
import { type OciMetadata, parseOciMetadata } from './metadata.ts';

/** What an `.oci` archive holds: a qcow2 file of any name, and as a rule the document beside it. */
export interface OciContents {
  readonly disk: TarMember;
  readonly metadata?: OciMetadata;
}

/** Opens the disk of an `.oci` archive. Throws ImageError. */
export async function openOci(source: ByteSource, options: OpenOptions): Promise<Disk> {
  const { disk, metadata } = await ociContents(source, options);
  const { signal, snapshot } = options;
  const inner = await openInnerImage(disk.open(), ['qcow2'], { signal, snapshot });
  const { launchOptions = {}, operatingSystem, operatingSystemVersion } = metadata ?? {};
  return containedDisk(inner, {
    format: 'oci',
    details: {
      member: disk.name,
      ...(operatingSystem !== undefined && { operatingSystem }),
      ...(operatingSystemVersion !== undefined && { operatingSystemVersion }),
      ...(metadata !== undefined && { launchOptions: { ...launchOptions } }),
    },
    warnings: metadata?.warnings ?? missingMetadata(source),
  });
}

function missingMetadata({ sequential }: ByteSource): string[] {
  // Of an arriving archive, what stands behind the disk is not known when the disk is.
  return sequential === true ? [] : [`the archive has no ${METADATA_NAME}: how to launch it is not known`];
}

/** Finds disk and document, in any order; of an arriving archive, what comes before the disk. */
export async function ociContents(source: ByteSource, options: OpenOptions): Promise<OciContents> {
  const { signal, member: asked } = options;
  const disks: TarMember[] = [];
  let metadata: OciMetadata | undefined;
  for await (const member of tarMembers(source, signal)) {
    if (member.kind !== 'file') continue;
    if (member.name === METADATA_NAME) metadata = parseOciMetadata(await wholeMember(member, signal));
    else if (await isQcow2(member, signal)) {
      disks.push(member);
      if (source.sequential && (asked === undefined || asked === member.name)) break;
    }
  }
  const disk = chosenDisk(disks, ({ name }) => [name], asked, source.name);
  return { disk, ...(metadata && { metadata }) };
}

/** By its mark: archives made by hand give it any name. */
async function isQcow2(member: TarMember, signal: AbortSignal | undefined): Promise<boolean> {
  if (member.lengthBytes < QCOW2_MARK.length) return false;
  const start = new Uint8Array(QCOW2_MARK.length);
  await member.open().read(0, start, signal);
  return hasMagic(start, QCOW2_MARK);
}

async function wholeMember(member: TarMember, signal: AbortSignal | undefined): Promise<Uint8Array> {
  if (member.lengthBytes > METADATA_BYTES_MAX) {
    throw new ImageError('IMAGE_LIMIT', `${member.name} has ${member.lengthBytes} bytes: 1 MiB is the most`, {
      structure: METADATA_NAME,
      offsetBytes: member.offsetBytes,
    });
  }
  const bytes = new Uint8Array(member.lengthBytes);
  await member.open().read(0, bytes, signal);
  return bytes;
}
