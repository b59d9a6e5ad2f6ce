import { utf8Bytes } from '../../bytes/fields.ts';
import { uuidFromHash } from '../../bytes/guid.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { sha256Of } from '../../io/node-hash.ts';
import { checkFindingLimit } from '../findings.ts';
import type { OpenOptions, RepairPlan } from '../format.ts';
import { NULL_GUID } from './guids.ts';
import { HEADER_OFFSETS, headerWith, type VhdxHeader } from './header.ts';
import { blockTableOf, readVhdx, type VhdxImage } from './image.ts';
import { REPAIR_ZERO_BYTES_MAX } from './limits.ts';
import { LOG_SECTOR_BYTES } from './log-entries.ts';
import type { LogReplay } from './log-replay.ts';
import { REGION_TABLE_BYTES } from './region-table.ts';
import { FileClaims, tableDamage } from './table-damage.ts';

interface Patch {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

/**
 * Plans what is certain: a log is replayed into the file and marked as empty, a damaged header or copy of the
 * region table is written again from the other one. Entries of the block table that cannot be right stay as
 * they are. Throws, like opening, when no header, region table or metadata can be used.
 */
export async function repairVhdx(source: ByteSource, options: OpenOptions): Promise<RepairPlan> {
  const image = await readVhdx(source, options.signal);
  const actions: string[] = [];
  const remaining: string[] = [];
  const patches: Patch[] = [];
  const regionPatch = damagedRegionPatch(image);
  if (regionPatch !== undefined) {
    actions.push(`the region table at byte ${regionPatch.offsetBytes} is written again from its other copy`);
    patches.push(regionPatch);
  }
  const logPatches = replayPatches(image);
  if (logPatches === undefined) {
    remaining.push('the log writes too many zeros to be replayed here: let Hyper-V open the file once');
  } else {
    if (image.replay !== undefined) actions.push('the log is replayed into the file');
    patches.push(...logPatches.filter((patch) => regionPatch === undefined || areApart(patch, regionPatch)));
  }
  patches.push(...headerPatches(image, logPatches !== undefined, actions));
  if (image.regions.copiesDiffer) {
    remaining.push('the copies of the region table differ, and nothing says which one is right');
  }
  const damage = tableDamage(image, blockTableOf(image), new FileClaims(image), options.signal);
  for await (const { message } of damage) {
    if (remaining.length < checkFindingLimit) remaining.push(message);
  }
  patches.sort((a, b) => a.offsetBytes - b.offsetBytes);
  const lengthBytes = logPatches === undefined ? image.stored.lengthBytes : image.source.lengthBytes;
  return { format: 'vhdx', actions, remaining, patches, lengthBytes };
}

function areApart(a: Patch, b: Patch): boolean {
  return a.offsetBytes + a.bytes.length <= b.offsetBytes || b.offsetBytes + b.bytes.length <= a.offsetBytes;
}

function damagedRegionPatch({ regions }: VhdxImage): Patch | undefined {
  const { damagedOffsetBytes, bytes } = regions;
  if (damagedOffsetBytes === undefined) return undefined;
  return { offsetBytes: damagedOffsetBytes, bytes: bytes.slice(0, REGION_TABLE_BYTES) };
}

/** What the log writes, apart from each other; undefined when that is too much. */
function replayPatches({ replay }: VhdxImage): Patch[] | undefined {
  if (replay === undefined) return [];
  const zeroBytes = replay.zeros.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  if (zeroBytes > REPAIR_ZERO_BYTES_MAX) return undefined;
  const pages = Array.from(replay.pages, ([offsetBytes, bytes]) => ({ offsetBytes, bytes }));
  return [...pages, ...zeroPatches(replay)];
}

/** The zeros between the pages that were written after them. */
function zeroPatches({ pages, zeros }: LogReplay): Patch[] {
  const patches: Patch[] = [];
  for (const { offsetBytes, lengthBytes } of zeros) {
    const end = offsetBytes + lengthBytes;
    let start = offsetBytes;
    for (let at = offsetBytes; at <= end; at += LOG_SECTOR_BYTES) {
      if (at < end && !pages.has(at)) continue;
      if (at > start) patches.push({ offsetBytes: start, bytes: new Uint8Array(at - start) });
      start = at + LOG_SECTOR_BYTES;
    }
  }
  return patches;
}

/**
 * An emptied log takes two new headers, so that neither copy knows it any more; a damaged copy takes the place
 * before the current one.
 */
function headerPatches({ headers }: VhdxImage, logIsDone: boolean, actions: string[]): Patch[] {
  const { current, damagedOffsetBytes } = headers;
  const [first, second] = HEADER_OFFSETS;
  const other = current.offsetBytes === first ? second : first;
  if (damagedOffsetBytes !== undefined) {
    actions.push(`the header at byte ${damagedOffsetBytes} is written again from the other one`);
  }
  if (logIsDone && current.logGuid !== NULL_GUID) {
    actions.push('the log is marked as empty in both headers');
    const sequence = nextSequence(current);
    const fileWriteGuid = uuidFromHash(sha256Of(current.bytes, utf8Bytes('VHDX repaired FileWriteGuid')));
    const fields = { fileWriteGuid, clearLog: true };
    return [
      { offsetBytes: other, bytes: headerWith(current, { ...fields, sequenceNumber: sequence }) },
      {
        offsetBytes: current.offsetBytes,
        bytes: headerWith(current, { ...fields, sequenceNumber: sequence + 1n }),
      },
    ];
  }
  if (damagedOffsetBytes === undefined) return [];
  // Only the greater number makes a header the current one: what is restored comes after it.
  return [{ offsetBytes: other, bytes: headerWith(current, { sequenceNumber: nextSequence(current) }) }];
}

/** Two numbers from here on are free. At the end of all numbers, counting begins again with both copies. */
function nextSequence({ sequenceNumber }: VhdxHeader): bigint {
  return sequenceNumber < 2n ** 64n - 2n ? sequenceNumber + 1n : 1n;
}
