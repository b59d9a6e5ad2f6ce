import { bytesEqual, hasMagic, isZero } from '../../bytes/fields.ts';
import { ceilDivide, roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { repairedSource } from '../../repair/repaired-source.ts';
import type { OpenOptions, RepairPlan } from '../format.ts';
import { VhdBlockTable } from './block-table.ts';
import { checkVhd } from './check.ts';
import { hasHeaderChecksum, readDynamicHeader, setHeaderChecksum } from './dynamic-header.ts';
import { readEnds, type VhdEnds } from './ends.ts';
import {
  FOOTER_BYTES,
  FOOTER_COOKIE,
  FOOTER_STRUCTURE,
  isValidFooter,
  parseFooter,
  setFooterChecksum,
} from './footer.ts';

interface Patch {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

/** One step: what it does and the bytes that do it. */
interface Step {
  readonly action: string;
  readonly patches: readonly Patch[];
  /** The file's length afterwards, when it changes. */
  readonly lengthBytes?: number;
}

/** In this order: each sees the file as those before it leave it. */
const steps = [footerChecksums, headerChecksum, endFromCopy, copyFromEnd] as const;

/**
 * Plans the repair of an image: a footer is written again from its copy and the copy from the footer, and checksums
 * that alone are wrong are made right. Blocks and table are left alone. Throws, like opening, where that is not
 * enough to read it.
 */
export async function repairVhd(source: ByteSource, options: OpenOptions): Promise<RepairPlan> {
  const start: RepairPlan = {
    format: 'vhd',
    actions: [],
    remaining: [],
    patches: [],
    lengthBytes: source.lengthBytes,
  };
  let plan = start;
  for (const step of steps) {
    const taken = await step(repairedSource(source, plan), options.signal);
    if (taken !== undefined) plan = withStep(plan, taken);
  }
  const { findings } = await checkVhd(repairedSource(source, plan), options);
  const remaining = findings
    .filter(({ severity }) => severity !== 'warning')
    .map(({ structure, message }) => `${structure}: ${message}`);
  return { ...plan, remaining };
}

/** Later bytes go over earlier ones of the same place. */
function withStep(plan: RepairPlan, { action, patches, lengthBytes }: Step): RepairPlan {
  const places = new Set(patches.map(({ offsetBytes }) => offsetBytes));
  const kept = plan.patches.filter(({ offsetBytes }) => !places.has(offsetBytes));
  return {
    ...plan,
    actions: [...plan.actions, action],
    patches: [...kept, ...patches].sort((a, b) => a.offsetBytes - b.offsetBytes),
    lengthBytes: lengthBytes ?? plan.lengthBytes,
  };
}

/** Both footers say the same, and only their checksum is wrong. */
async function footerChecksums(source: ByteSource, signal?: AbortSignal): Promise<Step | undefined> {
  const endAt = source.lengthBytes - FOOTER_BYTES;
  if (endAt < FOOTER_BYTES) return undefined;
  const copy = await readStructure(source, 0, FOOTER_BYTES, FOOTER_STRUCTURE, signal);
  const end = await readStructure(source, endAt, FOOTER_BYTES, FOOTER_STRUCTURE, signal);
  if (!hasMagic(copy, FOOTER_COOKIE) || isValidFooter(copy) || !bytesEqual(copy, end)) return undefined;
  const bytes = copy.slice();
  setFooterChecksum(bytes);
  // Byte 0 of a fixed disk is the guest's.
  if (parseFooter(bytes, 0).diskType === 'fixed') return undefined;
  return {
    action: 'the checksum of the footer and of its copy, which are the same, is made right',
    patches: [
      { offsetBytes: 0, bytes },
      { offsetBytes: endAt, bytes },
    ],
  };
}

/**
 * The checksum of the dynamic disk header, where everything that it says is seen to be right: a table of exactly the
 * disk's blocks, each of which is where it can be, and no block in the file that is not in the table.
 */
async function headerChecksum(source: ByteSource, signal?: AbortSignal): Promise<Step | undefined> {
  const { footer, dataEndBytes } = await readEnds(source, signal);
  if (footer.diskType !== 'dynamic') return undefined;
  const header = await readDynamicHeader(source, footer, signal, 'ignored').catch(unusable);
  if (header === undefined || hasHeaderChecksum(header.bytes)) return undefined;
  const table = await VhdBlockTable.read(source, header, footer.currentSizeBytes, signal);
  const isExact = header.maxTableEntries === ceilDivide(footer.currentSizeBytes, header.blockBytes);
  const isSound = table.damage(dataEndBytes).next().done === true;
  // Of a disk without a parent the rest of the header is empty.
  const isEmpty = isZero(header.bytes.slice(40));
  if (!isExact || !isSound || !isEmpty || table.lostBlockCount(dataEndBytes) > 0) return undefined;
  const bytes = header.bytes.slice();
  setHeaderChecksum(bytes);
  return {
    action: 'the checksum of the dynamic disk header, of which all the rest is right, is made right',
    patches: [{ offsetBytes: header.offsetBytes, bytes }],
  };
}

/** What else is wrong with it is said when it is checked. */
function unusable(error: unknown): undefined {
  if (!(error instanceof ImageError)) throw error;
}

async function endFromCopy(source: ByteSource, signal?: AbortSignal): Promise<Step | undefined> {
  const ends = await readEnds(source, signal);
  if (ends.endState === 'valid' || ends.footer.diskType === 'fixed') return undefined;
  // Where a block ends beyond the file the missing part may have been the footer, or what was before it.
  if (!(await isTableSound(source, ends, signal))) return undefined;
  const isMissing = ends.endState === 'missing';
  const offsetBytes = isMissing ? roundUp(ends.dataEndBytes, SECTOR_BYTES) : ends.dataEndBytes;
  return {
    action: `the footer, which is ${ends.endState}, is written from its copy at the start`,
    patches: [{ offsetBytes, bytes: ends.footerBytes }],
    lengthBytes: offsetBytes + FOOTER_BYTES,
  };
}

async function copyFromEnd(source: ByteSource, signal?: AbortSignal): Promise<Step | undefined> {
  const ends = await readEnds(source, signal);
  const { footer, footerBytes, copyState, copyDiffers } = ends;
  if (footer.diskType === 'fixed' || (copyState === 'valid' && !copyDiffers)) return undefined;
  if (copyDiffers && !(await isCopyOfSameDisk(source, ends, signal))) return undefined;
  if (!(await isTableSound(source, ends, signal))) return undefined;
  const state = copyDiffers ? 'older' : copyState;
  return {
    action: `the copy of the footer at the start, which is ${state}, is written from the footer`,
    patches: [{ offsetBytes: 0, bytes: footerBytes }],
  };
}

/** No block stands where the footer or its copy goes, nor beyond the file. */
async function isTableSound(source: ByteSource, ends: VhdEnds, signal?: AbortSignal): Promise<boolean> {
  const header = await readDynamicHeader(source, ends.footer, signal);
  const table = await VhdBlockTable.read(source, header, ends.footer.currentSizeBytes, signal);
  return header.offsetBytes >= FOOTER_BYTES && table.damage(ends.dataEndBytes).next().done === true;
}

/** Programs that take the copy see the same disk as those that take the footer. */
async function isCopyOfSameDisk(source: ByteSource, ends: VhdEnds, signal?: AbortSignal): Promise<boolean> {
  const bytes = await readStructure(source, 0, FOOTER_BYTES, FOOTER_STRUCTURE, signal);
  const copy = parseFooter(bytes, 0);
  const { footer } = ends;
  return (
    copy.diskType === footer.diskType &&
    copy.currentSizeBytes === footer.currentSizeBytes &&
    copy.dataOffsetBytes === footer.dataOffsetBytes &&
    copy.uniqueId === footer.uniqueId
  );
}
