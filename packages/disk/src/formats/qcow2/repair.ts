import { viewOf } from '../../bytes/fields.ts';
import { roundUp } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { Findings } from '../findings.ts';
import type { OpenOptions, RepairPlan } from '../format.ts';
import { claimRefcounts, refuseExternalData, walkTables } from './check.ts';
import { copiedPatches } from './copied-flags.ts';
import { type Qcow2Header, readHeader, V2_HEADER_BYTES, V3_HEADER_BYTES } from './header.ts';
import { type Patch, patchOf } from './patch.ts';
import { appendedRefcounts, refcountPatches, refcountsFit } from './refcount-repair.ts';
import { COUNT_CEILING, readRefcounts, type StoredRefcounts } from './refcounts.ts';
import { UseWalk } from './use-walk.ts';

/**
 * Plans what is certain: refcounts are computed again from the tables, COPIED flags follow them, and the dirty
 * bit goes; the corrupt bit too when nothing else is wrong. What a reader sees stays the same. Where the refcounts
 * have no room, or stand on top of something else, new ones are appended. Throws what `checkQcow2` throws.
 */
export async function repairQcow2(source: ByteSource, options: OpenOptions): Promise<RepairPlan> {
  const { signal } = options;
  const header = await readHeader(source, signal, 'accept');
  refuseExternalData(header);
  const inPlace = await walkInPlace(source, header, signal);
  const walked = inPlace ?? (await walkAnew(source, header, signal));
  const { walk, findings } = walked;
  const actions: string[] = [];
  const remaining = remainingOf(findings);
  // What else stands on the header or the L1 table would change with them.
  const l1Clusters = clustersOf(header.l1OffsetBytes, header.l1EntryCount * 8, header.clusterBytes);
  const isShared = [0, ...l1Clusters].some((index) => walk.isOverlapped(index));
  const cannotAppend = inPlace === undefined && walk.namesBeyondEnd;
  if (cannotAppend)
    remaining.push('new refcounts cannot be appended where entries name places behind the end');
  if (isShared || cannotAppend) {
    return { format: 'qcow2', actions, remaining, patches: [], lengthBytes: source.lengthBytes };
  }
  const patches: Patch[] = [];
  let lengthBytes = source.lengthBytes;
  const headerChange = new HeaderChange(header);
  if (inPlace !== undefined) {
    const found = await refcountPatches(source, header, inPlace.stored, walk.counts, signal);
    patches.push(...found.patches);
    if (found.changedCount > 0) actions.push(`the refcounts of ${found.changedCount} clusters are set right`);
  } else {
    const startBytes = roundUp(source.lengthBytes, header.clusterBytes);
    const appended = appendedRefcounts(walk.counts, startBytes);
    patches.push({ offsetBytes: startBytes, bytes: appended.bytes });
    lengthBytes = startBytes + appended.bytes.length;
    headerChange.moveRefcounts(startBytes, appended.tableClusters);
    actions.push('the refcounts are computed again and appended, as their old place cannot hold them');
  }
  const copied = await copiedPatches(source, header, walk, signal);
  patches.push(...copied.patches);
  if (copied.changedCount > 0) actions.push(`${copied.changedCount} COPIED flags are set right`);
  if (header.dirty) actions.push('the dirty bit is cleared');
  if (header.corrupt && remaining.length === 0) actions.push('the corrupt bit is cleared');
  headerChange.clearBits(header.dirty, header.corrupt && remaining.length === 0);
  patches.push(...(await headerChange.patch(source, signal)));
  patches.sort((a, b) => a.offsetBytes - b.offsetBytes);
  return { format: 'qcow2', actions, remaining, patches, lengthBytes };
}

interface Walked {
  readonly walk: UseWalk;
  readonly findings: Findings;
}

/** With the refcounts where they are; undefined when they cannot stay there. */
async function walkInPlace(
  source: ByteSource,
  header: Qcow2Header,
  signal: AbortSignal | undefined,
): Promise<(Walked & { readonly stored: StoredRefcounts }) | undefined> {
  const tableFindings = new Findings();
  const stored = await readRefcounts(source, header, tableFindings, signal).catch((error) => {
    if (error instanceof ImageError && error.code === 'IMAGE_TRUNCATED') return undefined;
    throw error;
  });
  if (stored === undefined || tableFindings.report('qcow2').corruptionCount > 0) return undefined;
  const findings = new Findings();
  const walk = new UseWalk(source, header, undefined, findings);
  claimRefcounts(walk, header, stored);
  await walkTables(source, header, walk, findings, signal);
  return refcountsFit(header, stored, walk) ? { walk, findings, stored } : undefined;
}

/** As if the file had no refcounts. */
async function walkAnew(
  source: ByteSource,
  header: Qcow2Header,
  signal: AbortSignal | undefined,
): Promise<Walked> {
  const findings = new Findings();
  const walk = new UseWalk(source, header, undefined, findings);
  await walkTables(source, header, walk, findings, signal);
  for (let index = 0; index < walk.counts.clusterCount; index++) {
    if (walk.counts.get(index) < COUNT_CEILING) continue;
    const message = `cluster ${index} is used more often than a refcount can say`;
    findings.add('corruption', 'qcow2 refcounts', message, index * header.clusterBytes);
  }
  return { walk, findings };
}

function remainingOf(findings: Findings): string[] {
  const report = findings.report('qcow2');
  const listed = report.findings
    .filter(({ severity }) => severity === 'corruption')
    .map(({ structure, offsetBytes, message }) => `${structure} at ${offsetBytes}: ${message}`);
  const more = report.corruptionCount - listed.length;
  return more > 0 ? [...listed, `and ${more} more`] : listed;
}

function clustersOf(offsetBytes: number, lengthBytes: number, clusterBytes: number): readonly number[] {
  const first = offsetBytes / clusterBytes;
  return Array.from({ length: Math.ceil(lengthBytes / clusterBytes) }, (_, i) => first + i);
}

/** The fields of the header that a repair changes. */
class HeaderChange {
  readonly #header: Qcow2Header;
  readonly #changes: ((view: DataView) => void)[] = [];

  constructor(header: Qcow2Header) {
    this.#header = header;
  }

  /** To refcounts of 16 bits, the only ones of version 2. */
  moveRefcounts(offsetBytes: number, tableClusters: number): void {
    this.#changes.push((view) => {
      view.setBigUint64(48, BigInt(offsetBytes));
      view.setUint32(56, tableClusters);
      if (this.#header.version === 3) view.setUint32(96, 4);
    });
  }

  /** Bits 0 and 1 of the incompatible features. */
  clearBits(dirty: boolean, corrupt: boolean): void {
    if (!dirty && !corrupt) return;
    this.#changes.push((view) => {
      view.setUint8(79, view.getUint8(79) & ~((dirty ? 1 : 0) | (corrupt ? 2 : 0)));
    });
  }

  async patch(source: ByteSource, signal: AbortSignal | undefined): Promise<readonly Patch[]> {
    if (this.#changes.length === 0) return [];
    const lengthBytes = this.#header.version === 3 ? V3_HEADER_BYTES : V2_HEADER_BYTES;
    const before = await readStructure(source, 0, lengthBytes, 'qcow2 header', signal);
    const after = before.slice();
    for (const change of this.#changes) change(viewOf(after));
    return patchOf(0, before, after);
  }
}
