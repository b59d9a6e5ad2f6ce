import { viewOf } from '../../bytes/fields.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { repairedSource } from '../../repair/repaired-source.ts';
import type { OpenOptions, RepairPlan } from '../format.ts';
import { VdiBlockMap } from './block-map.ts';
import { checkVdi } from './check.ts';
import type { VdiHeader } from './header.ts';
import { readUsableHeader } from './reader.ts';

/**
 * Plans the repair of an image whose count of allocated blocks is too low: VirtualBox would put the next block over
 * one that is used. The map is left alone. Throws, like opening, when the header cannot be used.
 */
export async function repairVdi(source: ByteSource, options: OpenOptions): Promise<RepairPlan> {
  const header = await readUsableHeader(source, options.signal);
  const counted = await countedPositions(source, header, options.signal);
  const patches = counted === undefined ? [] : [countPatch(header, counted)];
  const actions =
    counted === undefined ? [] : [`cBlocksAllocated becomes ${counted}, as the block map has it`];
  const plan = { format: 'vdi', actions, patches, remaining: [], lengthBytes: source.lengthBytes };
  const { findings } = await checkVdi(repairedSource(source, plan), options);
  const remaining = findings
    .filter(({ severity }) => severity !== 'warning')
    .map(({ structure, message }) => `${structure}: ${message}`);
  return { ...plan, remaining };
}

/** What the count has to be; undefined where it is high enough, or the map is not sound. */
async function countedPositions(
  source: ByteSource,
  header: VdiHeader,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  const map = new VdiBlockMap(source, header);
  for await (const _ of map.damage(signal)) return undefined;
  const { endPosition } = await map.usage(signal);
  return endPosition > header.allocatedCount ? endPosition : undefined;
}

function countPatch(header: VdiHeader, count: number): { offsetBytes: number; bytes: Uint8Array } {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setUint32(0, count, true);
  return { offsetBytes: header.places.cBlocksAllocated, bytes };
}
