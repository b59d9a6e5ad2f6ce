import type { DetailValue, Disk } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import type { OpenOptions } from '../../formats/format.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { containedDisk, openInnerImage } from '../inner-image.ts';
import type { OvfDescription } from '../ovf/envelope.ts';
import { type ApplianceDisk, disksOf, type FoundDisk, ovaContents } from './contents.ts';

/** What a disk of an appliance can be, by a word in the address that names its format. VMDK is what all write. */
const formatWords: Readonly<Record<string, string>> = {
  vmdk: 'vmdk',
  vhdx: 'vhdx',
  vhd: 'vhd',
  'virtual-hard-disk': 'vhd',
  qcow2: 'qcow2',
  qcow: 'qcow2',
  vdi: 'vdi',
};

/** Opens a disk of an appliance. Throws ImageError. */
export async function openOva(source: ByteSource, options: OpenOptions): Promise<Disk> {
  const { ovf, found } = await ovaContents(source, options);
  const { format, warnings } = declaredFormat(found.disk);
  const inner = await openInnerImage(diskSource(found), [format], { signal: options.signal });
  return containedDisk(inner, {
    format: 'ova',
    details: detailsOf(ovf, found),
    warnings: [...warnings, ...sizeWarning(found.disk, inner)],
  });
}

/** The bytes of a disk. Throws IMAGE_UNSUPPORTED for the forms of storing it that no program was seen to write. */
export function diskSource({ disk, member }: FoundDisk): ByteSource {
  const { compression, isChunked } = disk.file;
  const refuse = (what: string) =>
    new ImageError('IMAGE_UNSUPPORTED', `${JSON.stringify(disk.file.href)} is ${what} in the archive`, {
      structure: 'OVF descriptor',
      hint: 'unpack the archive with tar -x, restore the disk image from it, and use that',
    });
  if (disk.parent !== undefined) throw refuse(`stored as the difference to the disk ${disk.parent}`);
  if (isChunked) throw refuse('cut into chunks');
  if (compression !== undefined) throw refuse(`compressed (${compression})`);
  return member.open();
}

/** The format that the descriptor declares, which the disk's own mark has to agree with. */
export function declaredFormat({ format = '', file }: ApplianceDisk): { format: string; warnings: string[] } {
  const address = format.toLowerCase();
  const word = Object.keys(formatWords).find((candidate) => address.includes(candidate));
  const known = word === undefined ? undefined : formatWords[word];
  if (known === 'vmdk') return { format: known, warnings: [] };
  const { href } = file;
  if (known !== undefined) {
    return {
      format: known,
      warnings: [`the descriptor says that ${href} is ${known}: other programs take VMDK only`],
    };
  }
  const extension = href.slice(href.lastIndexOf('.') + 1).toLowerCase();
  const byName = (Object.hasOwn(formatWords, extension) ? formatWords[extension] : undefined) ?? 'vmdk';
  return {
    format: byName,
    warnings: [`the descriptor does not name a known format for ${href}: taken as ${byName}`],
  };
}

function detailsOf(ovf: OvfDescription, { disk, member }: FoundDisk): Record<string, DetailValue> {
  const { name, osType, osId, cpuCount, memoryBytes, firmware } = ovf;
  return {
    ...(name !== undefined && { name }),
    ...(osType !== undefined && { osType }),
    ...(osId !== undefined && { osId }),
    ...(cpuCount !== undefined && { cpuCount }),
    ...(memoryBytes !== undefined && { memoryBytes }),
    ...(firmware !== undefined && { firmware }),
    disks: disksOf(ovf).map(({ id, file }) => ({ id, file: file.href })),
    diskId: disk.id,
    member: member.name,
  };
}

/** Descriptors in whole MiB or GiB round up; a disk that is larger than they say is another one. */
function sizeWarning({ virtualSizeBytes }: ApplianceDisk, inner: Disk): string[] {
  if (virtualSizeBytes === undefined || inner.virtualSizeBytes === virtualSizeBytes) return [];
  return [
    `the descriptor says that the disk has ${virtualSizeBytes} bytes; it has ${inner.virtualSizeBytes}`,
  ];
}
