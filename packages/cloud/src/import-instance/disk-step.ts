import { randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Disk, denyReferences, openDisk, StoreError } from '@gantry/disk';
import { type DiskCheckpoint, planDisk, readBack, requireRoom, reveal, writeDisk } from '../disk-writer.ts';
import { type ObjectVersion, objectSource } from '../oci/object-source.ts';
import { rangeWindow } from '../range-window.ts';
import { objectPlace } from './cloud-steps.ts';
import type { ImportRun } from './run.ts';
import type { ImportState, WrittenDisk } from './state.ts';

/** Written beside the data: tables of the VMDK are part of its length, files of the machine are small. */
const SPARE_BYTES = 2 ** 20;

export function diskName({ request }: ImportState): string {
  return `${request.baseName}.vmdk`;
}

/**
 * Downloads the archive by ranges and converts its disk while they arrive, reads the file back, and gives it its name.
 * The archive itself is never here.
 */
export async function writeInstanceDisk(run: ImportRun): Promise<void> {
  const { journal, folder } = run;
  const path = join(folder, diskName(journal.state));
  const partialPath = join(folder, `.${diskName(journal.state)}.partial`);
  if (journal.state.written === undefined) await downloadDisk(run, partialPath);
  // Nothing but the new name may be missing after a kill.
  if ((await stat(partialPath).catch(() => undefined)) !== undefined) await reveal(partialPath, path);
  if ((await stat(path).catch(() => undefined)) !== undefined) return;
  throw new StoreError('STORE_NOT_FOUND', `${path} was written, and is gone`, {
    where: path,
    hint: 'put it back; or remove the journal, and start the import again',
  });
}

async function downloadDisk(run: ImportRun, partialPath: string): Promise<void> {
  const { clients, journal, parallel } = run;
  const { version } = journal.state.object;
  if (version === undefined)
    throw new StoreError('STORE_REFUSED', 'nothing was exported', { where: journal.path });
  const { source, diskDigest } = await openExport(run, version);
  const archive = rangeWindow(source, { parallel });
  try {
    const { signal } = clients;
    const disk = await openDisk(archive, { format: 'oci', references: denyReferences, signal });
    for (const warning of disk.warnings) run.note(`warning: ${warning}`);
    await journal.save({ metadata: metadataOf(disk) });
    const read = await copyDisk(run, disk, partialPath);
    const { virtualSizeBytes } = disk;
    await disk.close();
    const written = await verified(run, partialPath, { read, virtualSizeBytes, promised: diskDigest });
    await journal.save({ written, disk: undefined });
  } finally {
    await archive.close();
  }
}

/** An object that somebody removed since is exported anew when the import goes on: the image is kept. */
async function openExport(
  { clients, journal }: ImportRun,
  version: ObjectVersion,
): ReturnType<typeof objectSource> {
  const place = objectPlace(journal.state);
  try {
    return await objectSource(clients, place, version);
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== 'STORE_NOT_FOUND') throw error;
    await journal.save({ object: { retryToken: randomUUID() }, disk: undefined });
    throw new StoreError(error.code, 'the exported archive is gone from the bucket', {
      where: `${place.bucket}/${place.object}`,
      hint: 'go on with the same command: it is exported again',
      cause: error,
    });
  }
}

function metadataOf({ details }: Disk): string {
  const { metadata } = details;
  return typeof metadata === 'object' && metadata !== null ? JSON.stringify(metadata) : '{}';
}

/** Gives the digest of the disk as it was read, the parts of earlier processes included. */
async function copyDisk(run: ImportRun, disk: Disk, partialPath: string): Promise<string> {
  const { clients, journal, meter, parallel } = run;
  const { signal } = clients;
  const from: DiskCheckpoint | undefined = journal.state.disk;
  const seed = from?.seed ?? crypto.getRandomValues(new Uint8Array(32)).toHex();
  const layout = await planDisk(disk, seed, signal);
  await requireRoom(partialPath, layout.lengthBytes + SPARE_BYTES - (await allocatedBytes(partialPath)));
  return writeDisk(disk, layout, from, {
    partialPath,
    seed,
    parallel,
    signal,
    onCheckpoint: (checkpoint) => journal.save({ disk: checkpoint }),
    onProgress: ({ doneBytes, totalBytes }) => meter.bytes('download', doneBytes, totalBytes),
  });
}

async function allocatedBytes(path: string): Promise<number> {
  const found = await stat(path).catch(() => undefined);
  return (found?.blocks ?? 0) * 512;
}

interface Expected {
  /** Digest of what came out of the archive. */
  readonly read: string;
  readonly virtualSizeBytes: number;
  /** What the service says of the image, where it does. */
  readonly promised: string | undefined;
}

/**
 * Compares what is on disk with what was read, and where the service knows it, with what it keeps. OCI names no
 * checksum of the disk, only one of the archive's bytes in order, which are never here: there the proof begins with
 * what TLS delivered. When it fails, nothing of the file is trusted any more.
 */
async function verified(run: ImportRun, partialPath: string, expected: Expected): Promise<WrittenDisk> {
  const { clients, journal, meter } = run;
  const { read, promised, virtualSizeBytes } = expected;
  const back = await readBack(partialPath, clients.signal, ({ doneBytes, totalBytes }) =>
    meter.bytes('verify', doneBytes, totalBytes),
  );
  const wanted = promised ?? read;
  if (back.digest !== wanted || read !== wanted || back.virtualSizeBytes !== virtualSizeBytes) {
    await journal.save({ disk: undefined });
    throw new StoreError('STORE_CORRUPT', 'what was written is not the disk of the archive', {
      where: `${partialPath}: ${back.digest} was read back, ${read} was downloaded, ${wanted} is right`,
      hint: 'go on with the same command: it is downloaded again; should that fail too, test memory and disk',
    });
  }
  const { size } = await stat(partialPath);
  return { ...back, lengthBytes: size, proof: promised === undefined ? 'read-back' : 'service' };
}
