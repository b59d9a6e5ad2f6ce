import { hasMagic, viewOf } from '../../bytes/fields.ts';
import { isPowerOfTwo, KIB, toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { guidAt } from './guids.ts';
import {
  BLOCK_BYTES_MAX,
  BLOCK_BYTES_MIN,
  LOCATOR_BYTES_MAX,
  TABLE_ENTRIES_MAX,
  VIRTUAL_SIZE_BYTES_MAX,
} from './limits.ts';
import { parseParentLocator, type VhdxParentLocator } from './parent-locator.ts';
import type { VhdxRegion } from './region-table.ts';

export const METADATA_STRUCTURE = 'VHDX metadata';
export const METADATA_TABLE_BYTES: number = 64 * KIB;
export const METADATA_SIGNATURE = 'metadata';
export const METADATA_ENTRY_BYTES = 32;

/** The items of MS-VHDX 2.6.2, with their exact lengths where they have one. */
export const ITEMS: {
  readonly [name in ItemName]: { readonly guid: string; readonly lengthBytes?: number };
} = {
  fileParameters: { guid: 'caa16737-fa36-4d43-b3b6-33f0aa44e76b', lengthBytes: 8 },
  virtualDiskSize: { guid: '2fa54224-cd1b-4876-b211-5dbed83bf4b8', lengthBytes: 8 },
  virtualDiskId: { guid: 'beca12ab-b2e6-4523-93ef-c309e000c746', lengthBytes: 16 },
  logicalSectorSize: { guid: '8141bf1d-a96f-4709-ba47-f233a8faab5f', lengthBytes: 4 },
  physicalSectorSize: { guid: 'cda348c7-445d-4471-9cc9-e9885251c556', lengthBytes: 4 },
  parentLocator: { guid: 'a8d35f2d-b30b-454d-abf7-d3d84834ab0c' },
};
type ItemName =
  | 'fileParameters'
  | 'virtualDiskSize'
  | 'virtualDiskId'
  | 'logicalSectorSize'
  | 'physicalSectorSize'
  | 'parentLocator';

/** Bits of an entry's flags. */
const IS_USER = 1;
const IS_REQUIRED = 4;
/** Bits of the file parameters. */
export const LEAVE_BLOCKS_ALLOCATED = 1;
const HAS_PARENT = 2;

export interface VhdxMetadata {
  readonly blockBytes: number;
  /** A fixed disk: its blocks keep their places. */
  readonly leaveBlocksAllocated: boolean;
  readonly virtualSizeBytes: number;
  /** The identifier of SCSI page 83. */
  readonly virtualDiskId: string;
  readonly logicalSectorBytes: number;
  readonly physicalSectorBytes: number;
  /** Set for a differencing disk. */
  readonly parent: VhdxParentLocator | undefined;
}

interface Item {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

function refuse(code: ImageErrorCode, message: string, offsetBytes: number, hint?: string): never {
  throw new ImageError(code, message, { structure: METADATA_STRUCTURE, offsetBytes, hint });
}

/**
 * Reads the metadata region. Throws IMAGE_MALFORMED, IMAGE_LIMIT for a damaged or hostile one,
 * IMAGE_UNSUPPORTED for a required item that is not known.
 */
export async function readMetadata(
  source: ByteSource,
  region: VhdxRegion,
  signal?: AbortSignal,
): Promise<VhdxMetadata> {
  const entries = await readEntries(source, region, signal);
  const item = async (name: ItemName): Promise<Item> => {
    const entry = entries.get(ITEMS[name].guid);
    if (entry === undefined) {
      return refuse('IMAGE_MALFORMED', `the VHDX metadata has no ${name} item`, region.offsetBytes);
    }
    return { offsetBytes: entry.offsetBytes, bytes: await readItem(source, name, entry, signal) };
  };
  const parameters = await item('fileParameters');
  const flags = viewOf(parameters.bytes).getUint32(4, true);
  const virtualDiskId = await item('virtualDiskId');
  const sectors = {
    logicalSectorBytes: sectorBytes(await item('logicalSectorSize'), 'logical'),
    physicalSectorBytes: sectorBytes(await item('physicalSectorSize'), 'physical'),
  };
  return {
    blockBytes: blockSize(parameters),
    leaveBlocksAllocated: (flags & LEAVE_BLOCKS_ALLOCATED) !== 0,
    virtualSizeBytes: virtualSize(await item('virtualDiskSize'), sectors.logicalSectorBytes),
    virtualDiskId: guidAt(virtualDiskId.bytes, 0),
    ...sectors,
    parent: (flags & HAS_PARENT) === 0 ? undefined : parseLocatorItem(await item('parentLocator')),
  };
}

interface Entry {
  /** In the file. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** The items that the format defines, by GUID. */
async function readEntries(
  source: ByteSource,
  region: VhdxRegion,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, Entry>> {
  const bytes = await readStructure(
    source,
    region.offsetBytes,
    METADATA_TABLE_BYTES,
    METADATA_STRUCTURE,
    signal,
  );
  const view = viewOf(bytes);
  if (!hasMagic(bytes, METADATA_SIGNATURE)) {
    refuse('IMAGE_MALFORMED', 'the VHDX metadata table has no signature', region.offsetBytes);
  }
  const count = view.getUint16(10, true);
  if (count > TABLE_ENTRIES_MAX) {
    refuse('IMAGE_MALFORMED', `the VHDX metadata table says ${count} entries`, region.offsetBytes + 10);
  }
  const known = new Map(Object.entries(ITEMS).map(([name, { guid }]) => [guid, name]));
  const entries = new Map<string, Entry>();
  for (let i = 1; i <= count; i++) {
    const at = i * METADATA_ENTRY_BYTES;
    const place = region.offsetBytes + at;
    const guid = guidAt(bytes, at);
    const flags = view.getUint32(at + 24, true);
    // A user's item may have any GUID; it is never one of the format's.
    if (!known.has(guid) || (flags & IS_USER) !== 0) {
      if ((flags & IS_REQUIRED) === 0) continue;
      refuse('IMAGE_UNSUPPORTED', `the VHDX metadata item ${guid} is required and not known`, place);
    }
    const offsetBytes = view.getUint32(at + 16, true);
    const lengthBytes = view.getUint32(at + 20, true);
    if (offsetBytes < METADATA_TABLE_BYTES || offsetBytes + lengthBytes > region.lengthBytes) {
      const message = `the VHDX metadata item ${known.get(guid)} stands outside of its region`;
      refuse('IMAGE_MALFORMED', message, place);
    }
    if (entries.has(guid)) {
      refuse('IMAGE_MALFORMED', `the VHDX metadata item ${known.get(guid)} is there twice`, place);
    }
    entries.set(guid, { offsetBytes: region.offsetBytes + offsetBytes, lengthBytes });
  }
  return entries;
}

async function readItem(
  source: ByteSource,
  name: ItemName,
  { offsetBytes, lengthBytes }: Entry,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const expected = ITEMS[name].lengthBytes ?? lengthBytes;
  if (lengthBytes !== expected) {
    const message = `the VHDX metadata item ${name} has ${lengthBytes} bytes, not ${expected}`;
    refuse('IMAGE_MALFORMED', message, offsetBytes);
  }
  if (lengthBytes > LOCATOR_BYTES_MAX) {
    refuse('IMAGE_LIMIT', `the VHDX metadata item ${name} has ${lengthBytes} bytes`, offsetBytes);
  }
  return readStructure(source, offsetBytes, lengthBytes, METADATA_STRUCTURE, signal);
}

function blockSize({ bytes, offsetBytes }: Item): number {
  const blockBytes = viewOf(bytes).getUint32(0, true);
  if (!isPowerOfTwo(blockBytes) || blockBytes < BLOCK_BYTES_MIN) {
    const message = `VHDX block size is ${blockBytes}, not a power of two of at least 1 MiB`;
    refuse('IMAGE_MALFORMED', message, offsetBytes);
  }
  if (blockBytes > BLOCK_BYTES_MAX) {
    refuse('IMAGE_LIMIT', `VHDX block size is ${blockBytes}, more than 256 MiB`, offsetBytes);
  }
  return blockBytes;
}

function sectorBytes({ bytes, offsetBytes }: Item, which: 'logical' | 'physical'): number {
  const value = viewOf(bytes).getUint32(0, true);
  if (value === 512 || value === 4096) return value;
  return refuse('IMAGE_MALFORMED', `VHDX ${which} sector size is ${value}, not 512 or 4096`, offsetBytes);
}

function virtualSize({ bytes, offsetBytes }: Item, logicalSectorBytes: number): number {
  const place = { structure: METADATA_STRUCTURE, offsetBytes };
  const sizeBytes = toSafeInteger(viewOf(bytes).getBigUint64(0, true), place);
  if (sizeBytes > VIRTUAL_SIZE_BYTES_MAX) {
    refuse('IMAGE_LIMIT', `VHDX virtual disk size is ${sizeBytes}, more than 64 TiB`, offsetBytes);
  }
  if (sizeBytes === 0 || sizeBytes % logicalSectorBytes !== 0) {
    const message = `VHDX virtual disk size is ${sizeBytes}, no whole number of sectors of ${logicalSectorBytes} bytes`;
    refuse('IMAGE_MALFORMED', message, offsetBytes);
  }
  return sizeBytes;
}

function parseLocatorItem({ bytes, offsetBytes }: Item): VhdxParentLocator {
  return parseParentLocator(bytes, offsetBytes);
}
