import type { DetailValue, Disk } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import type { OpenOptions } from '../format.ts';
import { type OpenedReference, openReference } from '../reference.ts';
import { ClusterDisk } from './cluster-disk.ts';
import { type Qcow2Header, readHeader } from './header.ts';
import { clusterRuns } from './runs.ts';
import {
  chosenSnapshot,
  headerOfSnapshot,
  readSnapshots,
  type Snapshot,
  snapshotDetails,
} from './snapshots.ts';
import { Qcow2Tables } from './tables.ts';

/** What qemu calls formats that have another name here; its protocol names mean the bare bytes. */
const QEMU_FORMAT_NAMES: ReadonlyMap<string, string> = new Map([
  ['vpc', 'vhd'],
  ['file', 'raw'],
  ['host_device', 'raw'],
]);

/**
 * Opens a qcow2 image (version 2 or 3), in its present state or that of an internal snapshot, with its external
 * data file and its backing chain, both through the gate.
 */
export async function openQcow2(source: ByteSource, options: OpenOptions): Promise<Disk> {
  const { signal } = options;
  const present = await readHeader(source, signal);
  const warnings = present.dirty
    ? ['the image was not closed cleanly (dirty bit); its refcounts may be wrong']
    : [];
  const snapshots = await snapshotsOf(source, present, options, warnings);
  const header =
    options.snapshot === undefined
      ? present
      : headerOfSnapshot(present, chosenSnapshot(snapshots, options.snapshot));
  const tables = await Qcow2Tables.open(source, header, signal);
  const data =
    header.externalDataName === undefined
      ? source
      : await openExternalData(source, header.externalDataName, options);
  try {
    const files = { header, source, data };
    return new ClusterDisk({
      ...files,
      format: 'qcow2',
      virtualSizeBytes: header.virtualSizeBytes,
      clusterBytes: header.clusterBytes,
      compression: header.compression,
      details: detailsOf(header, snapshots),
      warnings,
      backing: await openBacking(source, header, options),
      runs: (from, to, walkSignal) => clusterRuns(files, tables, from, to, walkSignal),
    });
  } catch (error) {
    if (data !== source) await data.close();
    throw error;
  }
}

/** Only who chooses one needs them: damage is a warning to all others, and what arrives is not asked ahead. */
async function snapshotsOf(
  source: ByteSource,
  header: Qcow2Header,
  options: OpenOptions,
  warnings: string[],
): Promise<readonly Snapshot[]> {
  const isChosen = options.snapshot !== undefined;
  if (header.snapshotCount === 0 || (source.sequential && !isChosen)) return [];
  try {
    return (await readSnapshots(source, header, options.signal)).snapshots;
  } catch (error) {
    if (isChosen || !(error instanceof ImageError)) throw error;
    warnings.push(`the internal snapshots cannot be read: ${error.message}`);
    return [];
  }
}

async function openExternalData(source: ByteSource, name: string, options: OpenOptions): Promise<ByteSource> {
  const structure = 'qcow2 external data file name';
  const reference = { kind: 'external data file', name, format: 'raw', structure } as const;
  const { source: data } = await options.references.resolve(reference, options.signal);
  if (data !== source && data.name !== source.name) return data;
  await data.close();
  throw new ImageError('IMAGE_REFERENCE', 'the image is given as its own external data file', {
    structure,
    hint: 'supply the right file',
  });
}

async function openBacking(
  source: ByteSource,
  header: Qcow2Header,
  options: OpenOptions,
): Promise<OpenedReference | undefined> {
  if (header.backingName === undefined) return undefined;
  const reference = {
    kind: 'backing file',
    name: header.backingName,
    format: QEMU_FORMAT_NAMES.get(header.backingFormat ?? '') ?? header.backingFormat,
    structure: 'qcow2 backing file name',
  } as const;
  // The snapshot that was chosen is one of this image.
  return openReference(source, reference, { ...options, snapshot: undefined });
}

function detailsOf(header: Qcow2Header, snapshots: readonly Snapshot[]): Record<string, DetailValue> {
  return {
    version: header.version,
    clusterSizeBytes: header.clusterBytes,
    compressionType: header.compression === 'zstd' ? 'zstd' : 'zlib',
    extendedL2: header.extendedL2,
    refcountBits: header.refcountBits,
    snapshotCount: header.snapshotCount,
    snapshots: snapshotDetails(snapshots),
    backingFile: header.backingName ?? null,
    backingFormat: header.backingFormat ?? null,
    externalDataFile: header.externalDataName ?? null,
    externalDataFileRaw: header.externalDataRaw,
  };
}
