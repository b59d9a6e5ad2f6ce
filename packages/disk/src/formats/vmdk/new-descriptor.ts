import { hexText, utf8Bytes, viewOf } from '../../bytes/fields.ts';
import { uuidFromHash, uuidText } from '../../bytes/guid.ts';
import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import { invariant } from '../../errors.ts';
import { sha256Of } from '../../io/node-hash.ts';

/**
 * Room for VirtualBox, which rewrites the descriptor in place when it lacks something, whether or not what
 * follows leaves space; also VMware's usual size.
 */
export const DESCRIPTOR_SECTORS = 20;

export type Subformat =
  | 'monolithicSparse'
  | 'streamOptimized'
  | 'monolithicFlat'
  | 'twoGbMaxExtentSparse'
  | 'twoGbMaxExtentFlat'
  | 'vmfs';
export type AdapterType = 'lsilogic' | 'ide' | 'buslogic' | 'pvscsi';

export interface NewDescriptor {
  readonly subformat: Subformat;
  readonly adapterType: AdapterType;
  /** ddb.virtualHWVersion */
  readonly hardwareVersion: number;
  readonly capacitySectors: number;
  /** 32 bytes that every identifier derives from. */
  readonly seed: Uint8Array;
}

const NIL_UUID = '00000000-0000-0000-0000-000000000000';

/**
 * The text of a new descriptor. It is what VirtualBox, ESXi and qemu all take: exact case, one blank between
 * the words of the extent lines, header, extents and database in this order.
 */
export function encodeDescriptor(disk: NewDescriptor, extentLines: readonly string[]): Uint8Array {
  const { subformat, capacitySectors, seed } = disk;
  const cid = contentId(seed);
  const { cylinders, heads, sectors } = geometry(disk.adapterType, capacitySectors);
  // VirtualBox does not take two disks of one UUID: the subformats of one image have their own.
  const uuid = (role: string) => uuidText(uuidFromHash(derive(seed, `${subformat} uuid.${role}`)));
  const lines = [
    '# Disk DescriptorFile',
    'version=1',
    'encoding="UTF-8"',
    `CID=${cid}`,
    'parentCID=ffffffff',
    'isNativeSnapshot="no"',
    `createType="${subformat}"`,
    '',
    '# Extent description',
    ...extentLines,
    '',
    '# The Disk Data Base',
    '#DDB',
    '',
    `ddb.adapterType = "${disk.adapterType}"`,
    `ddb.geometry.cylinders = "${cylinders}"`,
    `ddb.geometry.heads = "${heads}"`,
    `ddb.geometry.sectors = "${sectors}"`,
    `ddb.longContentID = "${hexText(derive(seed, 'longContentID').subarray(0, 12))}${cid}"`,
    `ddb.uuid.image = "${uuid('image')}"`,
    `ddb.uuid.modification = "${uuid('modification')}"`,
    `ddb.uuid.parent = "${NIL_UUID}"`,
    `ddb.uuid.parentmodification = "${NIL_UUID}"`,
    `ddb.virtualHWVersion = "${disk.hardwareVersion}"`,
    '',
  ];
  return utf8Bytes(lines.join('\n'));
}

/**
 * The descriptor of a file that is the whole disk, padded to its sectors. The extent's name means the file
 * itself, whatever it is called.
 */
export function embeddedDescriptor(disk: NewDescriptor): Uint8Array {
  const access = disk.subformat === 'streamOptimized' ? 'RDONLY' : 'RW';
  const text = encodeDescriptor(disk, [`${access} ${disk.capacitySectors} SPARSE "disk.vmdk"`]);
  const bytes = new Uint8Array(DESCRIPTOR_SECTORS * SECTOR_BYTES);
  invariant(text.length < bytes.length / 2, 'a new descriptor leaves room for what others add');
  bytes.set(text);
  return bytes;
}

function derive(seed: Uint8Array, role: string): Uint8Array {
  return sha256Of(utf8Bytes(`gantry vmdk ${role}`), seed);
}

/** 8 hexadecimal digits. 0 and the two highest have a meaning of their own ("none", "must be drawn again"). */
function contentId(seed: Uint8Array): string {
  const words = viewOf(derive(seed, 'CID'));
  for (let at = 0; at < words.byteLength; at += 4) {
    const id = words.getUint32(at);
    if (id !== 0 && id < 0xfffffffe) return id.toString(16).padStart(8, '0');
  }
  return '00000001';
}

/**
 * The geometry that VMware gives a disk of this size. Nothing but old boot code asks for it; VirtualBox
 * computes its own in place of more than 16 heads.
 */
function geometry(adapterType: AdapterType, capacitySectors: number) {
  const gibSectors = 2 ** 21;
  let [heads, sectors] = [255, 63];
  if (adapterType === 'ide') heads = 16;
  else if (capacitySectors <= gibSectors) [heads, sectors] = [64, 32];
  else if (capacitySectors <= 2 * gibSectors) [heads, sectors] = [128, 32];
  const cylindersMax = adapterType === 'ide' ? 16383 : 65535;
  const cylinders = Math.max(1, Math.min(cylindersMax, Math.floor(capacitySectors / (heads * sectors))));
  return { cylinders, heads, sectors };
}
