import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { Findings } from '../findings.ts';
import type { CheckReport, OpenOptions } from '../format.ts';
import { bitmapRuns } from './bitmaps.ts';
import { type Qcow2Header, readHeader } from './header.ts';
import { type HostClusterCounts, readRefcounts, type StoredRefcounts } from './refcounts.ts';
import { type L1Place, readSnapshots } from './snapshots.ts';
import { UseWalk } from './use-walk.ts';

const SNAPSHOTS_STRUCTURE = 'qcow2 snapshot table';

/**
 * Walks every table, counts how often each host cluster is used and compares that with the refcounts that
 * the file keeps: too low is corruption (a writer would reuse the cluster), too high a leak. Tables and data
 * on top of a table, places beyond the end, reserved bits and wrong COPIED flags are corruption. Snapshots
 * and bitmaps count. Throws ImageError only where no walk is possible: the header, the active L1 table, the
 * tables of refcounts and snapshots, the bitmap directory.
 */
export async function checkQcow2(source: ByteSource, options: OpenOptions): Promise<CheckReport> {
  const { signal } = options;
  const header = await readHeader(source, signal, 'accept');
  refuseExternalData(header);
  const findings = new Findings();
  if (header.corrupt) findings.add('corruption', 'qcow2 header', 'the image is marked corrupt', 72);
  if (header.dirty)
    findings.add('warning', 'qcow2 header', 'the dirty bit is set: refcounts may be behind', 72);
  const stored = await readRefcounts(source, header, findings, signal);
  const walk = new UseWalk(source, header, stored.counts, findings);
  claimRefcounts(walk, header, stored);
  await walkTables(source, header, walk, findings, signal);
  compareCounts(walk.counts, stored.counts, findings);
  return findings.report('qcow2');
}

/** Refcounts say nothing about the clusters of another file. */
export function refuseExternalData(header: Qcow2Header): void {
  if (header.externalDataName === undefined) return;
  throw new ImageError('IMAGE_UNSUPPORTED', 'a qcow2 image with an external data file is not checked', {
    structure: 'qcow2 external data file name',
    hint: 'use qemu-img check',
  });
}

/** One use of each cluster of the refcount table and its blocks. */
export function claimRefcounts(walk: UseWalk, header: Qcow2Header, stored: StoredRefcounts): void {
  const { clusterBytes, refcountTableOffsetBytes: offsetBytes, refcountTableClusters } = header;
  walk.claim({ offsetBytes, lengthBytes: refcountTableClusters * clusterBytes }, 'qcow2 refcount table');
  for (const blockOffset of stored.blocks.values()) {
    walk.claim({ offsetBytes: blockOffset, lengthBytes: clusterBytes }, 'qcow2 refcount block');
  }
}

/** Counts the uses of everything but the refcounts. */
export async function walkTables(
  source: ByteSource,
  header: Qcow2Header,
  walk: UseWalk,
  findings: Findings,
  signal: AbortSignal | undefined,
): Promise<void> {
  walk.claim({ offsetBytes: 0, lengthBytes: header.clusterBytes }, 'qcow2 header');
  const active = { offsetBytes: header.l1OffsetBytes, entryCount: header.l1EntryCount };
  await walk.l1(active, true, signal);
  await walkSnapshots(source, header, walk, findings, signal);
  for await (const run of bitmapRuns(source, header, signal)) walk.claim(run, 'qcow2 bitmap');
  await walk.l2Tables(signal);
}

async function walkSnapshots(
  source: ByteSource,
  header: Qcow2Header,
  walk: UseWalk,
  findings: Findings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const snapshots = await readSnapshots(source, header, signal);
  const offsetBytes = header.snapshotsOffsetBytes;
  walk.claim({ offsetBytes, lengthBytes: snapshots.tableBytes }, SNAPSHOTS_STRUCTURE);
  // Tables that do not stand on top of each other are together no longer than the file.
  let roomBytes = source.lengthBytes;
  for (const [i, { l1: place }] of snapshots.snapshots.entries()) {
    const problem = l1Problem(place, header.clusterBytes, source.lengthBytes);
    roomBytes -= place.entryCount * 8;
    if (problem !== undefined || roomBytes < 0) {
      const message = `the L1 table of snapshot ${i} ${problem ?? 'stands on top of others'}`;
      findings.add('corruption', SNAPSHOTS_STRUCTURE, message, place.offsetBytes);
    } else await walk.l1(place, false, signal);
  }
}

function l1Problem(place: L1Place, clusterBytes: number, fileBytes: number): string | undefined {
  if (place.offsetBytes % clusterBytes !== 0) return "does not stand at a cluster's start";
  if (place.offsetBytes + place.entryCount * 8 > fileBytes) return 'ends beyond the end of the file';
  return undefined;
}

function compareCounts(used: HostClusterCounts, stored: HostClusterCounts, findings: Findings): void {
  for (let i = 0; i < used.clusterCount; i++) {
    const uses = used.get(i);
    const count = stored.get(i);
    if (uses === count) continue;
    const severity = uses > count ? 'corruption' : 'leak';
    const message = `cluster ${i} is used ${uses} times and counted ${count} times`;
    findings.add(severity, 'qcow2 refcounts', message, i * used.clusterBytes);
  }
}
