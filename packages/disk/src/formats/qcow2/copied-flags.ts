import { viewOf } from '../../bytes/fields.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import type { Qcow2Header } from './header.ts';
import { type Patch, patchOf } from './patch.ts';
import { entryOffset } from './tables.ts';
import type { UseWalk } from './use-walk.ts';

const COPIED_HIGH = 0x80000000;
const COMPRESSED_HIGH = 0x40000000;

/**
 * What sets the COPIED flags of the active tables by how often each cluster is used: set exactly where that is
 * once. Entries that name no cluster of the file, and tables that something else stands on, are left alone.
 */
export async function copiedPatches(
  source: ByteSource,
  header: Qcow2Header,
  walk: UseWalk,
  signal: AbortSignal | undefined,
): Promise<{ readonly patches: readonly Patch[]; readonly changedCount: number }> {
  const { clusterBytes, l1OffsetBytes, l1EntryCount, l2EntryBytes } = header;
  const patches: Patch[] = [];
  let changedCount = 0;
  const correct = async (offsetBytes: number, lengthBytes: number, entryBytes: number, structure: string) => {
    const before = await readStructure(source, offsetBytes, lengthBytes, structure, signal);
    const after = before.slice();
    changedCount += setFlags(viewOf(after), entryBytes, walk, clusterBytes);
    patches.push(...patchOf(offsetBytes, before, after));
  };
  await correct(l1OffsetBytes, l1EntryCount * 8, 8, 'qcow2 L1 table');
  for (const index of walk.activeL2Clusters()) {
    await correct(index * clusterBytes, clusterBytes, l2EntryBytes, 'qcow2 L2 table');
  }
  return { patches, changedCount };
}

function setFlags(table: DataView, entryBytes: number, walk: UseWalk, clusterBytes: number): number {
  let changedCount = 0;
  for (let at = 0; at + entryBytes <= table.byteLength; at += entryBytes) {
    const high = table.getUint32(at);
    const low = table.getUint32(at + 4);
    const hostBytes = entryOffset(high, low);
    const index = hostBytes / clusterBytes;
    const isCluster = hostBytes !== 0 && Number.isInteger(index) && index < walk.counts.clusterCount;
    if (!isCluster || (high & COMPRESSED_HIGH) !== 0) continue;
    const isCopied = high >= COPIED_HIGH;
    if (isCopied === (walk.counts.get(index) === 1)) continue;
    table.setUint32(at, isCopied ? high - COPIED_HIGH : high + COPIED_HIGH);
    changedCount++;
  }
  return changedCount;
}
