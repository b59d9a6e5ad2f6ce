import { utf8Text, viewOf } from '../../bytes/fields.ts';
import { ceilDivide, roundUp, toSafeInteger } from '../../bytes/numbers.ts';
import type { DetailValue } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure, requireInside } from '../../io/byte-source.ts';
import type { Qcow2Header } from './header.ts';
import {
  L1_TABLE_BYTES_MAX,
  SNAPSHOT_TABLE_BYTES_MAX,
  SNAPSHOTS_LISTED_MAX,
  VIRTUAL_SIZE_BYTES_MAX,
} from './limits.ts';

export interface L1Place {
  readonly offsetBytes: number;
  readonly entryCount: number;
}

/** An internal snapshot (specification, "Snapshots"). */
export interface Snapshot {
  readonly id: string;
  readonly name: string;
  readonly createdAtMs: number;
  readonly vmStateBytes: number;
  /** Of the disk when the snapshot was made; the present one where the entry does not say. */
  readonly virtualSizeBytes: number;
  readonly l1: L1Place;
}

interface SnapshotTable {
  readonly tableBytes: number;
  readonly snapshots: readonly Snapshot[];
}

const STRUCTURE = 'qcow2 snapshot table';
const ENTRY_BYTES = 40;
/** The table is read in parts of this size. */
const WINDOW_BYTES = 65536;

/** Reads the snapshot table. Throws ImageError where it cannot be walked. */
export async function readSnapshots(
  source: ByteSource,
  header: Qcow2Header,
  signal?: AbortSignal,
): Promise<SnapshotTable> {
  const table = new TableWindow(source);
  const snapshots: Snapshot[] = [];
  let at = header.snapshotsOffsetBytes;
  for (let i = 0; i < header.snapshotCount; i++) {
    const entry = viewOf(await table.bytes(at, ENTRY_BYTES, signal));
    const extraBytes = entry.getUint32(36);
    const idBytes = entry.getUint16(12);
    const nameBytes = entry.getUint16(14);
    const lengthBytes = roundUp(ENTRY_BYTES + extraBytes + idBytes + nameBytes, 8);
    if (at + lengthBytes - header.snapshotsOffsetBytes > SNAPSHOT_TABLE_BYTES_MAX) {
      refuse('IMAGE_LIMIT', 'the snapshot table is above 64 MiB', at);
    }
    const extra = await table.bytes(at + ENTRY_BYTES, Math.min(extraBytes, 16), signal);
    const names = await table.bytes(at + ENTRY_BYTES + extraBytes, idBytes + nameBytes, signal);
    const sizes = extra.length >= 16 ? viewOf(extra) : undefined;
    const place = { structure: STRUCTURE, offsetBytes: at };
    const entryCount = entry.getUint32(8);
    if (entryCount * 8 > L1_TABLE_BYTES_MAX) {
      refuse('IMAGE_LIMIT', `the L1 table of snapshot ${i} is above 32 MiB`, at);
    }
    snapshots.push({
      id: utf8Text(names.subarray(0, idBytes)),
      name: utf8Text(names.subarray(idBytes)),
      createdAtMs: entry.getUint32(16) * 1000 + Math.floor(entry.getUint32(20) / 1_000_000),
      vmStateBytes: sizes === undefined ? entry.getUint32(32) : toSafeInteger(sizes.getBigUint64(0), place),
      virtualSizeBytes:
        sizes === undefined ? header.virtualSizeBytes : toSafeInteger(sizes.getBigUint64(8), place),
      l1: { offsetBytes: toSafeInteger(entry.getBigUint64(0), place), entryCount },
    });
    at += lengthBytes;
  }
  return { tableBytes: at - header.snapshotsOffsetBytes, snapshots };
}

/**
 * The snapshot with this id, else the one with this name. Throws IMAGE_OPTION when there is none, or more than
 * one of the name.
 */
export function chosenSnapshot(snapshots: readonly Snapshot[], chosen: string): Snapshot {
  const byId = snapshots.find(({ id }) => id === chosen);
  if (byId !== undefined) return byId;
  const [found, second] = snapshots.filter(({ name }) => name === chosen);
  if (found !== undefined && second === undefined) return found;
  const known = snapshots.map(({ id, name }) => `${id} (${name})`).slice(0, 20);
  const which = found === undefined ? 'no snapshot' : 'more than one snapshot';
  throw new ImageError(
    'IMAGE_OPTION',
    `the image has ${which} with the id or name ${JSON.stringify(chosen)}`,
    {
      structure: 'snapshot',
      hint: known.length === 0 ? 'it has no snapshots at all' : `choose one by its id: ${known.join(', ')}`,
    },
  );
}

/** The header as it was when the snapshot was made: its size and its L1 table. */
export function headerOfSnapshot(header: Qcow2Header, snapshot: Snapshot): Qcow2Header {
  const { virtualSizeBytes, l1 } = snapshot;
  const { offsetBytes } = l1;
  if (virtualSizeBytes > VIRTUAL_SIZE_BYTES_MAX) {
    refuse('IMAGE_LIMIT', `the snapshot's size of ${virtualSizeBytes} bytes is above 64 TiB`, offsetBytes);
  }
  if (offsetBytes % header.clusterBytes !== 0) {
    refuse('IMAGE_MALFORMED', "the snapshot's L1 table is not at a cluster's start", offsetBytes);
  }
  const needed = ceilDivide(virtualSizeBytes, header.clusterBytes * header.l2EntryCount);
  if (l1.entryCount < needed) {
    refuse(
      'IMAGE_MALFORMED',
      `the snapshot's L1 table has ${l1.entryCount} entries, not ${needed}`,
      offsetBytes,
    );
  }
  return { ...header, virtualSizeBytes, l1OffsetBytes: offsetBytes, l1EntryCount: l1.entryCount };
}

/** For `details`: what there is to choose from. */
export function snapshotDetails(snapshots: readonly Snapshot[]): readonly DetailValue[] {
  return snapshots
    .slice(0, SNAPSHOTS_LISTED_MAX)
    .map(({ id, name, createdAtMs, vmStateBytes, virtualSizeBytes }) => ({
      id,
      name,
      created: new Date(createdAtMs).toISOString(),
      virtualSizeBytes,
      vmStateBytes,
    }));
}

function refuse(code: 'IMAGE_LIMIT' | 'IMAGE_MALFORMED', message: string, offsetBytes: number): never {
  throw new ImageError(code, message, { structure: STRUCTURE, offsetBytes });
}

/** Reads small neighbours with one read. */
class TableWindow {
  readonly #source: ByteSource;
  #startBytes = 0;
  #bytes: Uint8Array = new Uint8Array(0);

  constructor(source: ByteSource) {
    this.#source = source;
  }

  async bytes(offsetBytes: number, lengthBytes: number, signal?: AbortSignal): Promise<Uint8Array> {
    requireInside(this.#source, offsetBytes, lengthBytes, STRUCTURE);
    const within = offsetBytes - this.#startBytes;
    if (within < 0 || within + lengthBytes > this.#bytes.length) {
      const windowBytes = Math.max(
        lengthBytes,
        Math.min(WINDOW_BYTES, this.#source.lengthBytes - offsetBytes),
      );
      this.#bytes = await readStructure(this.#source, offsetBytes, windowBytes, STRUCTURE, signal);
      this.#startBytes = offsetBytes;
    }
    const at = offsetBytes - this.#startBytes;
    return this.#bytes.subarray(at, at + lengthBytes);
  }
}
