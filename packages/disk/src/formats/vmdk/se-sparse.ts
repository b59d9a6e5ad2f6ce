import { hasMagic, isZero, viewOf } from '../../bytes/fields.ts';
import { ceilDivide, SECTOR_BYTES, toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure, requireInside } from '../../io/byte-source.ts';
import { VIRTUAL_SIZE_BYTES_MAX } from './limits.ts';

const HEADER = 'VMDK seSparse header';
/** constMagic, in 8 bytes. */
export const SE_SPARSE_MAGIC = '\xbe\xba\xfe\xca\0\0\0\0';
const VOLATILE_MAGIC = '\xfe\xca\xfe\xca\0\0\0\0';
const VERSION = 0x0000_0002_0000_0001n;
/** The only values that ESXi writes; qemu takes no others. */
const GRAIN_SECTORS = 8;
const TABLE_SECTORS = 64;

/** A range of an extent's file, in sectors. */
export interface SectorRange {
  readonly start: number;
  readonly count: number;
}

/** The header of a seSparse extent, as far as a reader needs it. */
export interface SeSparseHeader {
  readonly capacitySectors: number;
  readonly grainSectors: number;
  readonly tableSectors: number;
  readonly directory: SectorRange;
  readonly tables: SectorRange;
  readonly grains: SectorRange;
}

/** Offsets of the {offset, size} pairs of the constant header. */
const PLACES = {
  volatileHeader: 80,
  journalHeader: 96,
  journal: 112,
  directory: 128,
  tables: 144,
  freeBitmap: 160,
  backMap: 176,
  grains: 192,
} as const;
const PADDING_BYTES = 208;

/**
 * Reads both headers. Throws IMAGE_UNSUPPORTED for an extent whose journal has to be replayed, and for what no
 * version of ESXi is known to write.
 */
export async function readSeSparseHeader(source: ByteSource, signal?: AbortSignal): Promise<SeSparseHeader> {
  const bytes = await readStructure(source, 0, SECTOR_BYTES, HEADER, signal);
  const view = viewOf(bytes);
  const refuse = (code: ImageErrorCode, message: string, offsetBytes: number): never => {
    throw new ImageError(code, message, { structure: HEADER, offsetBytes });
  };
  const field = (at: number) =>
    toSafeInteger(view.getBigUint64(at, true), { structure: HEADER, offsetBytes: at });
  if (!hasMagic(bytes, SE_SPARSE_MAGIC)) refuse('IMAGE_MALFORMED', `${HEADER}: its mark is missing`, 0);
  const version = view.getBigUint64(8, true);
  if (version !== VERSION) {
    refuse('IMAGE_UNSUPPORTED', `seSparse extents of version 0x${version.toString(16)} are not known`, 8);
  }
  const capacitySectors = field(16);
  if (capacitySectors === 0) refuse('IMAGE_MALFORMED', 'the seSparse extent has no sectors', 16);
  if (capacitySectors > VIRTUAL_SIZE_BYTES_MAX / SECTOR_BYTES) {
    refuse('IMAGE_LIMIT', `the seSparse capacity of ${capacitySectors} sectors is above 64 TiB`, 16);
  }
  if (field(24) !== GRAIN_SECTORS || field(32) !== TABLE_SECTORS) {
    const message = `seSparse grains of ${field(24)} sectors in tables of ${field(32)} are not known`;
    refuse('IMAGE_UNSUPPORTED', message, 24);
  }
  if (!isZero(bytes.subarray(40, 80)) || !isZero(bytes.subarray(PADDING_BYTES))) {
    refuse('IMAGE_UNSUPPORTED', 'seSparse flags or fields that are not known are set', 40);
  }
  const range = (at: number): SectorRange => ({ start: field(at), count: field(at + 8) });
  await requireClean(source, range(PLACES.volatileHeader), signal);
  const header = {
    capacitySectors,
    grainSectors: GRAIN_SECTORS,
    tableSectors: TABLE_SECTORS,
    directory: range(PLACES.directory),
    tables: range(PLACES.tables),
    grains: range(PLACES.grains),
  };
  const entryCount = ceilDivide(capacitySectors, GRAIN_SECTORS * tableEntries(header));
  if (header.directory.count * SECTOR_BYTES < entryCount * 8) {
    refuse('IMAGE_MALFORMED', 'the seSparse grain directory is too small for the disk', PLACES.directory);
  }
  if (header.grains.start === 0) {
    refuse('IMAGE_MALFORMED', 'the seSparse extent has no place for grains', PLACES.grains);
  }
  requireApart(
    Object.values(PLACES).map((at) => ({ ...range(at), at })),
    refuse,
  );
  requireInside(
    source,
    header.directory.start * SECTOR_BYTES,
    entryCount * 8,
    'VMDK seSparse grain directory',
  );
  return header;
}

/** Entries of one grain table. */
export function tableEntries(header: Pick<SeSparseHeader, 'tableSectors'>): number {
  return (header.tableSectors * SECTOR_BYTES) / 8;
}

/** The volatile header says whether the extent was closed. Its journal is not replayed: that would be writing. */
async function requireClean(
  source: ByteSource,
  place: SectorRange,
  signal: AbortSignal | undefined,
): Promise<void> {
  const structure = 'VMDK seSparse volatile header';
  const offsetBytes = place.start * SECTOR_BYTES;
  if (place.count < 1 || place.start < 1) {
    throw new ImageError('IMAGE_MALFORMED', 'the seSparse extent has no volatile header', {
      structure: HEADER,
      offsetBytes: PLACES.volatileHeader,
    });
  }
  const bytes = await readStructure(source, offsetBytes, SECTOR_BYTES, structure, signal);
  if (!hasMagic(bytes, VOLATILE_MAGIC)) {
    throw new ImageError('IMAGE_MALFORMED', `${structure}: its mark is missing`, { structure, offsetBytes });
  }
  if (viewOf(bytes).getBigUint64(24, true) !== 0n) {
    throw new ImageError('IMAGE_UNSUPPORTED', 'the seSparse extent has a journal that must be replayed', {
      structure,
      offsetBytes: offsetBytes + 24,
      hint: 'power the machine off on its host, so that ESXi closes the disk, and copy it again',
    });
  }
}

/** Throws for two parts of the file that share sectors: one would be shown as the other. */
function requireApart(
  places: readonly (SectorRange & { readonly at: number })[],
  refuse: (code: ImageErrorCode, message: string, offsetBytes: number) => never,
): void {
  const used = [{ start: 0, count: 1, at: 0 }, ...places.filter(({ count }) => count > 0)];
  used.sort((a, b) => a.start - b.start);
  for (const [i, place] of used.entries()) {
    const before = used[i - 1];
    if (before === undefined || before.start + before.count <= place.start) continue;
    refuse('IMAGE_MALFORMED', 'two parts of the seSparse extent share their place', place.at);
  }
}
