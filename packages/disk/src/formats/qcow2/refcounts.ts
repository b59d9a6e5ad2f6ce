import { viewOf } from '../../bytes/fields.ts';
import { ceilDivide } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import type { Findings } from '../findings.ts';
import type { Qcow2Header } from './header.ts';
import { CHECK_CLUSTER_COUNT_MAX } from './limits.ts';

/** Counts above this are all the same to a check. */
export const COUNT_CEILING = 65535;

/** One number for every host cluster of a file: what the file says, or what a walk of its tables counts. */
export class HostClusterCounts {
  readonly clusterBytes: number;
  readonly clusterCount: number;
  readonly #counts: Uint16Array;

  constructor(source: ByteSource, clusterBytes: number) {
    this.clusterBytes = clusterBytes;
    this.clusterCount = ceilDivide(source.lengthBytes, clusterBytes);
    if (this.clusterCount > CHECK_CLUSTER_COUNT_MAX) {
      throw new ImageError(
        'IMAGE_LIMIT',
        `a check of ${this.clusterCount} clusters would take too much memory`,
        {
          structure: 'qcow2 file length',
        },
      );
    }
    this.#counts = new Uint16Array(this.clusterCount);
  }

  get(index: number): number {
    return this.#counts[index] ?? 0;
  }

  set(index: number, count: number): void {
    this.#counts[index] = Math.min(count, COUNT_CEILING);
  }

  add(index: number, uses: number): void {
    this.set(index, this.get(index) + uses);
  }
}

/** The refcounts of a file, and where they stand. */
export interface StoredRefcounts {
  readonly counts: HostClusterCounts;
  /** Host offset of each sound block, by its index in the table. */
  readonly blocks: ReadonlyMap<number, number>;
}

/**
 * Reads the refcounts that the file keeps. What cannot be read is a finding, and counts as 0. Each block is
 * read once; what blocks say about clusters beyond the end of the file is left aside.
 */
export async function readRefcounts(
  source: ByteSource,
  header: Qcow2Header,
  findings: Findings,
  signal?: AbortSignal,
): Promise<StoredRefcounts> {
  const { clusterBytes, refcountBits } = header;
  const structure = 'qcow2 refcount table';
  const counts = new HostClusterCounts(source, clusterBytes);
  const tableBytes = header.refcountTableClusters * clusterBytes;
  const tableOffset = header.refcountTableOffsetBytes;
  const table = viewOf(await readStructure(source, tableOffset, tableBytes, structure, signal));
  const perBlock = (clusterBytes * 8) / refcountBits;
  const blocks = new Map<number, number>();
  const blockOffsets = new Set<number>();
  for (let i = 0; i < tableBytes / 8; i++) {
    const entry = table.getBigUint64(i * 8);
    if (entry === 0n) continue;
    const at = tableOffset + i * 8;
    if (entry % BigInt(clusterBytes) !== 0n || entry + BigInt(clusterBytes) > BigInt(source.lengthBytes)) {
      findings.add('corruption', structure, `refcount block ${i} cannot stand at ${entry}`, at);
      continue;
    }
    const offsetBytes = Number(entry);
    if (blockOffsets.has(offsetBytes)) {
      findings.add('corruption', structure, `refcount block ${i} stands where another one does`, at);
      continue;
    }
    blockOffsets.add(offsetBytes);
    blocks.set(i, offsetBytes);
    const first = i * perBlock;
    const count = Math.min(perBlock, counts.clusterCount - first);
    if (count <= 0) continue;
    const block = await readStructure(source, offsetBytes, clusterBytes, 'qcow2 refcount block', signal);
    for (let k = 0; k < count; k++) counts.set(first + k, refcountAt(block, k, refcountBits));
  }
  return { counts, blocks };
}

/** Big endian; widths below a byte stand with the first entry in the lowest bits. */
function refcountAt(block: Uint8Array, index: number, bits: number): number {
  if (bits < 8) {
    const perByte = 8 / bits;
    const byte = block[Math.floor(index / perByte)] ?? 0;
    return (byte >> ((index % perByte) * bits)) & (2 ** bits - 1);
  }
  const width = bits / 8;
  let count = 0;
  for (let i = 0; i < width; i++) count = count * 256 + (block[index * width + i] ?? 0);
  return count;
}

/** Writes one refcount into a block; it fits the width. */
export function setRefcount(block: Uint8Array, index: number, bits: number, count: number): void {
  if (bits < 8) {
    const perByte = 8 / bits;
    const at = Math.floor(index / perByte);
    const shift = (index % perByte) * bits;
    const mask = (2 ** bits - 1) << shift;
    block[at] = ((block[at] ?? 0) & ~mask) | (count << shift);
    return;
  }
  const width = bits / 8;
  let rest = count;
  for (let i = width - 1; i >= 0; i--) {
    block[index * width + i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
}
