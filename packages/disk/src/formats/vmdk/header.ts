import { hasMagic, viewOf } from '../../bytes/fields.ts';
import { ceilDivide, isPowerOfTwo, SECTOR_BYTES, toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import * as limits from './limits.ts';

export const SPARSE_MAGIC = 'KDMV';
/** gdOffset and rgdOffset of a header whose footer has the true ones (GD_AT_END). */
const AT_END = 0xffff_ffff_ffff_ffffn;
/** "\n", " ", "\r\n": any text-mode transfer changes them. */
const NEWLINE_TEST = '\n \r\n';

const FLAG = {
  newlineTest: 2 ** 0,
  redundantDirectory: 2 ** 1,
  zeroedGrains: 2 ** 2,
  compressed: 2 ** 16,
  markers: 2 ** 17,
} as const;
/** A reader that does not know one of the high 16 flags must not go on; the low ones may be ignored. */
const UNKNOWN_INCOMPATIBLE_FLAGS = 0xfffc0000;

/** The header of a hosted sparse extent (SparseExtentHeader); the field's own name in a comment if it differs. */
export interface SparseHeader {
  readonly version: number;
  readonly flags: number;
  /** Not always a multiple of the grain; 0 only where the file is no extent but a wrapped descriptor. */
  readonly capacitySectors: number;
  /** grainSize */
  readonly grainSectors: number;
  /** descriptorOffset and descriptorSize; both 0 without an embedded descriptor. */
  readonly descriptorSector: number;
  readonly descriptorSectorCount: number;
  /** numGTEsPerGT */
  readonly tableEntryCount: number;
  /** rgdOffset; undefined when the file has no redundant grain directory. */
  readonly redundantDirectorySector: number | undefined;
  /** gdOffset; undefined when it stands in the footer. */
  readonly directorySector: number | undefined;
  /** overHead */
  readonly overheadSectors: number;
  readonly uncleanShutdown: boolean;
  /** Grains are compressed and stand behind markers. */
  readonly compressed: boolean;
  /** A grain table entry of 1 means a grain of zeros. */
  readonly zeroedGrains: boolean;
}

/** Entries of the grain directory: one for each grain table. */
export function directoryEntryCount(header: SparseHeader): number {
  return ceilDivide(header.capacitySectors, header.grainSectors * header.tableEntryCount);
}

/** Sectors of one grain table: a power of two, at least 1. */
export function tableSectors(header: SparseHeader): number {
  return (header.tableEntryCount * 4) / SECTOR_BYTES;
}

/** Reads the header at the start of the file. Throws ImageError for all that could not be read right. */
export async function readSparseHeader(source: ByteSource, signal?: AbortSignal): Promise<SparseHeader> {
  const bytes = await readStructure(source, 0, SECTOR_BYTES, 'VMDK sparse header', signal);
  const header = parseSparseHeader(bytes, 0, 'VMDK sparse header');
  if (header.overheadSectors * SECTOR_BYTES > source.lengthBytes) {
    throw new ImageError(
      'IMAGE_TRUNCATED',
      `the file ends inside its first ${header.overheadSectors} sectors`,
      {
        structure: 'VMDK sparse header',
        offsetBytes: 64,
        hint: 'the file is incomplete: copy or download it again',
      },
    );
  }
  return header;
}

/** The header in `bytes`, which stood at `atBytes` of the file. Checks what can be checked without the file. */
export function parseSparseHeader(bytes: Uint8Array, atBytes: number, structure: string): SparseHeader {
  const refuse = (code: ImageErrorCode, message: string, fieldBytes: number, hint?: string): never => {
    throw new ImageError(code, message, { structure, offsetBytes: atBytes + fieldBytes, hint });
  };
  if (!hasMagic(bytes, SPARSE_MAGIC)) refuse('IMAGE_MALFORMED', `${structure}: the mark KDMV is missing`, 0);
  const view = viewOf(bytes);
  const flags = view.getUint32(8, true);
  const has = (flag: number) => (flags & flag) !== 0;
  if (has(FLAG.newlineTest) && !hasMagic(bytes, NEWLINE_TEST, 73)) {
    refuse(
      'IMAGE_MALFORMED',
      'a text-mode transfer changed the line ends inside the VMDK file',
      73,
      'copy or download the file again, in binary mode',
    );
  }
  const version = view.getUint32(4, true);
  if (version < 1 || version > 3) {
    refuse('IMAGE_UNSUPPORTED', `VMDK sparse extents of version ${version} are not known`, 4);
  }
  if ((flags & UNKNOWN_INCOMPATIBLE_FLAGS) !== 0) {
    refuse('IMAGE_UNSUPPORTED', `unknown incompatible VMDK flags in 0x${flags.toString(16)}`, 8);
  }
  const compression = view.getUint16(77, true);
  if (compression > 1) refuse('IMAGE_UNSUPPORTED', `VMDK compression ${compression} is not known`, 77);
  const compressed = compression === 1;
  if (compressed !== has(FLAG.compressed)) {
    refuse(
      'IMAGE_MALFORMED',
      `VMDK compression ${compression} does not fit the flags 0x${flags.toString(16)}`,
      77,
    );
  }
  if (compressed !== has(FLAG.markers)) {
    refuse('IMAGE_UNSUPPORTED', 'VMDK compression without markers, or markers without it, is not read', 8);
  }
  const sectors = (fieldBytes: number, name: string) =>
    toSafeInteger(view.getBigUint64(fieldBytes, true), {
      structure: `${structure} ${name}`,
      offsetBytes: atBytes + fieldBytes,
    });
  const directory = (fieldBytes: number, name: string) =>
    view.getBigUint64(fieldBytes, true) === AT_END ? undefined : sectors(fieldBytes, name);
  const header: SparseHeader = {
    version,
    flags,
    capacitySectors: sectors(12, 'capacity'),
    grainSectors: sectors(20, 'grainSize'),
    descriptorSector: sectors(28, 'descriptorOffset'),
    descriptorSectorCount: sectors(36, 'descriptorSize'),
    tableEntryCount: view.getUint32(44, true),
    redundantDirectorySector: has(FLAG.redundantDirectory) ? directory(48, 'rgdOffset') : undefined,
    directorySector: directory(56, 'gdOffset'),
    overheadSectors: sectors(64, 'overHead'),
    uncleanShutdown: bytes[72] !== 0,
    compressed,
    zeroedGrains: has(FLAG.zeroedGrains),
  };
  if (header.descriptorSectorCount * SECTOR_BYTES > limits.DESCRIPTOR_BYTES_MAX) {
    refuse(
      'IMAGE_LIMIT',
      `the VMDK descriptor of ${header.descriptorSectorCount} sectors is above 1 MiB`,
      36,
    );
  }
  if (header.capacitySectors > 0) requireSaneTables(header, refuse);
  return header;
}

function requireSaneTables(
  header: SparseHeader,
  refuse: (code: ImageErrorCode, message: string, fieldBytes: number) => never,
): void {
  const { capacitySectors, grainSectors, tableEntryCount } = header;
  if (capacitySectors > limits.VIRTUAL_SIZE_BYTES_MAX / SECTOR_BYTES) {
    refuse('IMAGE_LIMIT', `the VMDK capacity of ${capacitySectors} sectors is above 64 TiB`, 12);
  }
  if (
    !isPowerOfTwo(grainSectors) ||
    grainSectors < limits.GRAIN_SECTORS_MIN ||
    grainSectors > limits.GRAIN_SECTORS_MAX
  ) {
    refuse('IMAGE_MALFORMED', `VMDK grainSize is ${grainSectors}, not a power of two from 8 to 2097152`, 20);
  }
  if (header.compressed && grainSectors > limits.COMPRESSED_GRAIN_SECTORS_MAX) {
    refuse('IMAGE_LIMIT', `compressed VMDK grains of ${grainSectors} sectors are above 1 MiB`, 20);
  }
  if (
    !isPowerOfTwo(tableEntryCount) ||
    tableEntryCount < limits.TABLE_ENTRIES_MIN ||
    tableEntryCount > limits.TABLE_ENTRIES_MAX
  ) {
    refuse('IMAGE_MALFORMED', `VMDK numGTEsPerGT is ${tableEntryCount}, not 512`, 44);
  }
  if (directoryEntryCount(header) > limits.DIRECTORY_ENTRIES_MAX) {
    refuse('IMAGE_LIMIT', `a grain directory of ${directoryEntryCount(header)} entries is above 2097152`, 12);
  }
}

export interface NewHeader {
  readonly version: 1 | 3;
  readonly capacitySectors: number;
  readonly grainSectors: number;
  readonly tableEntryCount: number;
  /** 0 for an extent that a descriptor of its own file names. */
  readonly descriptorSectorCount: number;
  readonly redundantDirectorySector?: number;
  /** Absent: it stands in the footer. */
  readonly directorySector?: number;
  readonly overheadSectors: number;
  readonly compressed: boolean;
}

/** One sector: the header of a new file, its descriptor, if it has one, in sector 1. */
export function encodeSparseHeader(header: NewHeader): Uint8Array {
  const bytes = new Uint8Array(SECTOR_BYTES);
  const view = viewOf(bytes);
  const { redundantDirectorySector, directorySector } = header;
  let flags = FLAG.newlineTest;
  if (redundantDirectorySector !== undefined) flags += FLAG.redundantDirectory;
  if (header.compressed) flags += FLAG.compressed + FLAG.markers;
  writeText(bytes, 0, SPARSE_MAGIC);
  view.setUint32(4, header.version, true);
  view.setUint32(8, flags, true);
  view.setBigUint64(12, BigInt(header.capacitySectors), true);
  view.setBigUint64(20, BigInt(header.grainSectors), true);
  view.setBigUint64(28, header.descriptorSectorCount > 0 ? 1n : 0n, true);
  view.setBigUint64(36, BigInt(header.descriptorSectorCount), true);
  view.setUint32(44, header.tableEntryCount, true);
  view.setBigUint64(48, BigInt(redundantDirectorySector ?? 0), true);
  view.setBigUint64(56, directorySector === undefined ? AT_END : BigInt(directorySector), true);
  view.setBigUint64(64, BigInt(header.overheadSectors), true);
  writeText(bytes, 73, NEWLINE_TEST);
  view.setUint16(77, header.compressed ? 1 : 0, true);
  return bytes;
}

function writeText(bytes: Uint8Array, at: number, text: string): void {
  for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i);
}
