import { lstat, stat } from 'node:fs/promises';
import { relative, resolve } from 'node:path';
import { denyReferences, fileSource, ImageError, openDisk } from '@gantry/disk';
import { type Machine, type MachineDisk, type OvfDiskFile, planDiskFiles } from '@gantry/machine';
import { CommandError } from '../../errors/command-error.ts';

export interface DescribedDisks {
  /** With paths relative to the target, and the identifiers that stand in the images. */
  readonly machine: Machine;
  /** By the paths of the machine's disks. */
  readonly files: ReadonlyMap<string, OvfDiskFile>;
}

export interface DescribeOptions {
  /** Of the descriptor that was read, and of the one that is written. */
  readonly folder: string;
  readonly targetFolder: string;
  readonly anyPath?: boolean | undefined;
  readonly signal: AbortSignal;
}

/** Looks at the files of a machine, as far as they are there: a descriptor that says their sizes has to be right. */
export async function describeDisks(machine: Machine, options: DescribeOptions): Promise<DescribedDisks> {
  const files = new Map<string, OvfDiskFile>();
  const disks: MachineDisk[] = [];
  for (const disk of machine.disks) {
    if (disk.path === undefined) {
      disks.push(disk);
      continue;
    }
    const place = resolve(options.folder, disk.path);
    const path = relative(options.targetFolder, place);
    const isThere = (await lstat(place).catch(() => undefined)) !== undefined;
    const found = isThere ? await lookedAt(machine, disk, place, options).catch(inPieces(place)) : {};
    const { uuid = disk.uuid, ...file } = found;
    files.set(path, file);
    disks.push({ ...disk, path, ...(uuid !== undefined && { uuid }) });
  }
  return { machine: { ...machine, disks }, files };
}

/** Sizes and identifiers of a disk over others would be right for a part of it only. */
function inPieces(place: string): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof ImageError) || error.code !== 'IMAGE_REFERENCE') throw error;
    const message = error.message.startsWith(place) ? error.message : `${place}: ${error.message}`;
    throw new CommandError(error.code, message, {
      where: place,
      hint: 'make one file of it, and name that: gantry disk convert … --references-from FOLDER',
      cause: error,
    });
  };
}

/** Throws what `planDiskFiles` throws for a file that is not to be opened, or is not of its format. */
async function lookedAt(
  machine: Machine,
  disk: MachineDisk,
  place: string,
  { anyPath, folder, signal }: DescribeOptions,
): Promise<OvfDiskFile & { readonly uuid?: string }> {
  const { kernel: _, ...rest } = machine;
  await planDiskFiles({ ...rest, disks: [disk] }, { folder, anyPath, signal });
  const { size: lengthBytes } = await stat(place);
  if (disk.device !== 'disk') return { lengthBytes };
  const source = await fileSource(place);
  try {
    const opened = await openDisk(source, {
      format: disk.format ?? 'raw',
      references: denyReferences,
      signal,
    });
    const { details, virtualSizeBytes } = opened;
    await opened.close();
    const uuid = details['uuid.image'] ?? details.uuidCreate ?? details.uniqueId;
    return { lengthBytes, virtualSizeBytes, ...(typeof uuid === 'string' && { uuid: uuid.toLowerCase() }) };
  } finally {
    await source.close();
  }
}
