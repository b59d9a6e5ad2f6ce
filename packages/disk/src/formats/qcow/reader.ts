import type { Disk } from '../../disk/disk.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import type { OpenOptions } from '../format.ts';
import { ClusterDisk } from '../qcow2/cluster-disk.ts';
import { openReference } from '../reference.ts';
import { readHeader } from './header.ts';
import { clusterRuns } from './runs.ts';
import { QcowTables } from './tables.ts';

/**
 * Opens a qcow image of version 1, and its backing file through the gate. The image does not say what format
 * that has: the caller does.
 */
export async function openQcow(source: ByteSource, options: OpenOptions): Promise<Disk> {
  const header = await readHeader(source, options.signal);
  const tables = new QcowTables(source, header);
  const { backingName, virtualSizeBytes, clusterBytes } = header;
  const structure = 'qcow backing file name';
  const backing =
    backingName === undefined
      ? undefined
      : await openReference(source, { kind: 'backing file', name: backingName, structure }, options);
  return new ClusterDisk({
    format: 'qcow',
    virtualSizeBytes,
    clusterBytes,
    compression: 'deflate-raw',
    details: {
      version: 1,
      clusterSizeBytes: clusterBytes,
      l2EntryCount: header.l2EntryCount,
      backingFile: backingName ?? null,
    },
    warnings: [],
    source,
    data: source,
    backing,
    runs: (from, to, signal) => clusterRuns(source, header, tables, from, to, signal),
  });
}
