import { type ByteSource, readStructure } from '@gantry/disk';
import type { Budget } from '../budget.ts';
import { Fields, malformed, notRead, tooMany, utf8Text } from '../fields.ts';
import { Runs } from '../files/runs.ts';
import type { Findings } from '../findings.ts';
import { LVM_METADATA_BYTES_MAX, LVM_SEGMENT_COUNT_MAX } from '../limits.ts';
import { type LvmSection, type LvmValue, parseLvmText } from './lvm-text.ts';
import type { Volume } from './volume.ts';

const SECTOR_BYTES = 512;
const LABEL_SECTORS = 4;
const INITIAL_CRC = 0xf597a6cf;
const METADATA_MAGIC = ' LVM2 x[5A%r0N*>';

/** A physical volume: where it stands on the disk, and what its metadata says of the group. */
export interface PhysicalVolume {
  readonly uuid: string;
  readonly volume: Volume;
  readonly groupName?: string;
  readonly group?: LvmSection;
}

/** True when one of the first four sectors is the label of a physical volume (LVM2, `label.h`). */
export function lvmLabelSector(head: Fields): number | undefined {
  for (let sector = 0; sector < LABEL_SECTORS; sector++) {
    const at = sector * SECTOR_BYTES;
    if (head.has(at, 'LABELONE') && head.has(at + 24, 'LVM2 001')) return sector;
  }
  return undefined;
}

/** Reads the label of a physical volume and the newest metadata of its group. Throws ImageError. */
export async function readPhysicalVolume(volume: Volume): Promise<PhysicalVolume> {
  const headBytes = Math.min(volume.bytes.lengthBytes, LABEL_SECTORS * SECTOR_BYTES);
  const head = new Fields(await readStructure(volume.bytes, 0, headBytes, 'LVM2 label'), 'LVM2 label');
  const sector = lvmLabelSector(head);
  if (sector === undefined) throw malformed('LVM2 label', 'it is not there');
  const label = head.fields(sector * SECTOR_BYTES, SECTOR_BYTES);
  if (label.u64(8) !== sector) throw label.malformed('it says that it stands in another sector');
  if (lvmCrc(label.part(20, SECTOR_BYTES - 20)) !== label.u32(16))
    throw label.malformed('its checksum is wrong');
  const header = label.u32(20);
  const uuid = label.latin1(header, 32);
  const lists = header + 40;
  let at = lists;
  while (label.u64(at) !== 0) at += 16;
  for (at += 16; label.u64(at) !== 0; at += 16) {
    const text = await metadataText(volume.bytes, label.u64(at), label.u64(at + 8));
    if (text === undefined) continue;
    const [[groupName, group] = []] = [...parseLvmText(text).sections];
    if (groupName !== undefined && group !== undefined) return { uuid, volume, groupName, group };
  }
  return { uuid, volume };
}

/** The text of a metadata area: it goes round its ring behind the header of 512 bytes. Undefined where there is none yet. */
async function metadataText(
  volume: ByteSource,
  areaBytes: number,
  areaLength: number,
): Promise<string | undefined> {
  const structure = 'LVM2 metadata area';
  const header = new Fields(await readStructure(volume, areaBytes, SECTOR_BYTES, structure), structure);
  if (!header.has(4, METADATA_MAGIC)) throw header.malformed('it has no magic');
  if (lvmCrc(header.part(4, SECTOR_BYTES - 4)) !== header.u32(0))
    throw header.malformed('its checksum is wrong');
  const offset = header.u64(40);
  const length = header.u64(48);
  if (offset === 0 || length === 0) return undefined;
  if (length > LVM_METADATA_BYTES_MAX) throw tooMany(`${structure}: bytes of text`, LVM_METADATA_BYTES_MAX);
  if (offset < SECTOR_BYTES || offset >= areaLength || length > areaLength - SECTOR_BYTES)
    throw header.malformed('the text lies outside it');
  const bytes = new Uint8Array(length);
  const first = Math.min(length, areaLength - offset);
  bytes.set(await readStructure(volume, areaBytes + offset, first, structure));
  if (first < length)
    bytes.set(await readStructure(volume, areaBytes + SECTOR_BYTES, length - first, structure), first);
  if (lvmCrc(bytes) !== header.u32(56)) throw header.malformed('the checksum of the text is wrong');
  return utf8Text(bytes);
}

/** The visible logical volumes of the groups that the physical volumes belong to. */
export function logicalVolumes(
  physical: readonly PhysicalVolume[],
  budget: Budget,
  findings: Findings,
): Volume[] {
  const volumes: Volume[] = [];
  const names = new Set(physical.map(({ groupName }) => groupName));
  for (const groupName of names) {
    const group = physical.find((one) => one.groupName === groupName)?.group;
    if (groupName === undefined || group === undefined) continue;
    for (const [name, section] of group.sections.get('logical_volumes')?.sections ?? []) {
      if (!list(section.values.get('status')).includes('VISIBLE')) continue;
      const logicalName = `${groupName}/${name}`;
      const where = `logical volume ${logicalName}`;
      try {
        volumes.push({ where, logicalName, bytes: logicalBytes(section, group, physical, where, budget) });
      } catch (error) {
        findings.rethrowUnlessImage(error);
        findings.add({ severity: 'note', code: 'VOLUME_NOT_READ', where, message: error.message });
      }
    }
  }
  return volumes;
}

interface Segment {
  readonly startBytes: number;
  readonly lengthBytes: number;
  readonly source: ByteSource;
  readonly sourceBytes: number;
}

/** Segments in their order, over one physical volume: those are linear volumes as installers make them. */
function logicalBytes(
  logical: LvmSection,
  group: LvmSection,
  physical: readonly PhysicalVolume[],
  where: string,
  budget: Budget,
): ByteSource {
  if (logical.sections.size > LVM_SEGMENT_COUNT_MAX) throw tooMany(where, LVM_SEGMENT_COUNT_MAX);
  const segments = [...logical.sections.values()]
    .map((segment) => segmentOf(segment, group, physical, where))
    .sort((a, b) => a.startBytes - b.startBytes);
  const [first] = segments;
  if (first === undefined) throw malformed(where, 'it has no segments');
  const runs = new Runs(where, budget);
  let lengthBytes = 0;
  for (const { startBytes, lengthBytes: length, source, sourceBytes } of segments) {
    if (startBytes !== lengthBytes) throw malformed(where, 'its segments do not follow each other');
    if (source !== first.source) throw notRead(where, 'it lies on several physical volumes');
    runs.add(startBytes, sourceBytes, length);
    lengthBytes += length;
  }
  return { ...runs.source(first.source, lengthBytes), name: where };
}

function segmentOf(
  segment: LvmSection,
  group: LvmSection,
  physical: readonly PhysicalVolume[],
  where: string,
): Segment {
  const extentBytes = number(group, 'extent_size') * SECTOR_BYTES;
  const type = String(segment.values.get('type'));
  if (type !== 'striped') throw notRead(where, `it is of type ${type}; only linear volumes are read`);
  if (number(segment, 'stripe_count') !== 1)
    throw notRead(where, 'it is striped; only linear volumes are read');
  const [name, startExtent] = list(segment.values.get('stripes'));
  const section = group.sections.get('physical_volumes')?.sections.get(String(name));
  const id = String(section?.values.get('id')).replaceAll('-', '');
  const source = physical.find(({ uuid }) => uuid === id)?.volume.bytes;
  if (section === undefined || source === undefined) throw notRead(where, 'a part of it is on another disk');
  const startBytes = number(segment, 'start_extent') * extentBytes;
  const lengthBytes = number(segment, 'extent_count') * extentBytes;
  const sourceBytes = number(section, 'pe_start') * SECTOR_BYTES + Number(startExtent) * extentBytes;
  if (!(sourceBytes >= 0 && sourceBytes + lengthBytes <= source.lengthBytes))
    throw malformed(where, 'a segment lies behind the end of its physical volume');
  return { startBytes, lengthBytes, source, sourceBytes };
}

function number(section: LvmSection, key: string): number {
  const value = section.values.get(key);
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw malformed('LVM2 metadata', `${key} is no whole number`);
}

function list(value: LvmValue | undefined): readonly (string | number)[] {
  return typeof value === 'object' ? value : [];
}

/** CRC-32 of the usual polynomial, begun with LVM2's own value and not inverted at the end (`lib/misc/crc.c`). */
function lvmCrc(bytes: Uint8Array): number {
  let crc = INITIAL_CRC;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return crc >>> 0;
}
