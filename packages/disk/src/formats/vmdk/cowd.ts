import { hasMagic, viewOf } from '../../bytes/fields.ts';
import { ceilDivide, isPowerOfTwo, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { directoryEntryCount, type SparseHeader } from './header.ts';
import { COWD_GRAIN_SECTORS_MAX } from './limits.ts';

const STRUCTURE = 'VMDK COWD header';
export const COWD_MAGIC = 'COWD';
const HEADER_BYTES = 2048;
/** L2 entries of every grain table (qemu, libvmdk: fixed). */
const TABLE_ENTRIES = 4096;

/**
 * The header of a vmfsSparse extent (COWDisk_Header), as far as it is like that of a hosted sparse extent, which
 * it is read as from there on. Throws ImageError for all that could not be read right.
 */
export async function readCowdHeader(
  source: ByteSource,
  signal?: AbortSignal,
): Promise<SparseHeader & { readonly directorySector: number }> {
  const bytes = await readStructure(source, 0, HEADER_BYTES, STRUCTURE, signal);
  const view = viewOf(bytes);
  const word = (at: number) => view.getUint32(at, true);
  const refuse = (code: ImageErrorCode, message: string, offsetBytes: number): never => {
    throw new ImageError(code, message, { structure: STRUCTURE, offsetBytes });
  };
  if (!hasMagic(bytes, COWD_MAGIC)) refuse('IMAGE_MALFORMED', `${STRUCTURE}: the mark COWD is missing`, 0);
  if (word(4) !== 1) refuse('IMAGE_UNSUPPORTED', `COWD extents of version ${word(4)} are not known`, 4);
  const grainSectors = word(16);
  if (!isPowerOfTwo(grainSectors) || grainSectors > COWD_GRAIN_SECTORS_MAX) {
    refuse('IMAGE_MALFORMED', `COWD granularity is ${grainSectors}, not a power of two up to 2048`, 16);
  }
  const header = {
    version: word(4),
    flags: word(8),
    capacitySectors: word(12),
    grainSectors,
    // Texts of old products fill the rest of the header: no place for grains either.
    descriptorSector: 1,
    descriptorSectorCount: HEADER_BYTES / SECTOR_BYTES - 1,
    tableEntryCount: TABLE_ENTRIES,
    redundantDirectorySector: undefined,
    directorySector: word(20),
    overheadSectors: HEADER_BYTES / SECTOR_BYTES,
    uncleanShutdown: word(1648) !== 0,
    compressed: false,
    zeroedGrains: false,
  };
  if (header.capacitySectors === 0) refuse('IMAGE_MALFORMED', 'the COWD extent has no sectors', 12);
  if (header.directorySector < ceilDivide(HEADER_BYTES, SECTOR_BYTES)) {
    refuse('IMAGE_MALFORMED', 'the COWD grain directory stands inside the header', 20);
  }
  if (word(24) < directoryEntryCount(header)) {
    refuse('IMAGE_MALFORMED', `a COWD grain directory of ${word(24)} entries is too small`, 24);
  }
  return header;
}
