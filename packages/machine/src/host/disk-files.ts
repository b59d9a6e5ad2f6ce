import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { copyFile, link, lstat, mkdtemp, realpath, rm, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import {
  convert,
  type Disk,
  denyReferences,
  fileSink,
  fileSource,
  ImageError,
  openDisk,
  probeFormat,
  StoreError,
  storeError,
} from '@gantry/disk';
import { outsideOfFolder } from '../descriptors/virt-image/confined.ts';
import { checksumDigits } from '../descriptors/virt-image/image.ts';
import type { Machine, MachineDisk } from '../model.ts';

export interface DiskFileOptions {
  /** The folder of the descriptor: what relative paths are relative to, and what they do not lead out of. */
  readonly folder: string;
  /** Take any path, and disks that name other files; for descriptors that are trusted. */
  readonly anyPath?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A disk of a machine as a file of this host. */
export interface DiskFile {
  /** Where the disk stands in the machine's list. */
  readonly index: number;
  /** Absolute. */
  readonly path: string;
  readonly format: string;
  /** `create`: it is missing, and is made empty, of `virtualSizeBytes`. */
  readonly action: 'use' | 'create';
  readonly virtualSizeBytes?: number;
}

export interface DiskFilePlan {
  /** The machine with absolute paths. */
  readonly machine: Machine;
  readonly files: readonly DiskFile[];
  /** One sentence each. */
  readonly warnings: readonly string[];
}

/** Formats in which an empty disk is made. */
const madeFormats: readonly string[] = ['raw', 'qcow', 'qcow2', 'vmdk', 'vdi', 'vhd', 'vhdx'];

/**
 * Looks at the files of a machine and changes nothing. Throws STORE_NOT_FOUND for a disk that has to be there,
 * STORE_REFUSED for a path that leads out of the folder, IMAGE_REFERENCE for a disk that names another file,
 * IMAGE_OPTION for a missing disk that cannot be made, and what opening a disk throws.
 */
export async function planDiskFiles(machine: Machine, options: DiskFileOptions): Promise<DiskFilePlan> {
  const files: DiskFile[] = [];
  const warnings: string[] = [];
  const disks: MachineDisk[] = [];
  for (const [index, disk] of machine.disks.entries()) {
    if (disk.path === undefined) {
      disks.push(disk);
      continue;
    }
    const path = await placeOf(disk.path, options);
    disks.push({ ...disk, path });
    const found = await stat(path).catch((error) => unlessMissing(error, path));
    const format = disk.format ?? 'raw';
    if (found === undefined)
      files.push({ index, path, format, action: 'create', ...missing(disk, path, format) });
    else {
      if (!found.isFile() && !(found.isBlockDevice() && options.anyPath === true))
        throw new StoreError('STORE_REFUSED', `${path} is no file`, {
          where: path,
          hint: 'name a file, not a folder or a device',
        });
      files.push({ index, path, format, action: 'use' });
      warnings.push(...(await lookedAt(path, disk, format, options)));
    }
  }
  const kernel = machine.kernel && {
    ...machine.kernel,
    path: await existing(machine.kernel.path, options),
    ...(machine.kernel.initrdPath !== undefined && {
      initrdPath: await existing(machine.kernel.initrdPath, options),
    }),
  };
  return { machine: { ...machine, disks, ...(kernel && { kernel }) }, files, warnings };
}

/** Makes the missing disks, sparse. What came to stand in the place of one meanwhile is left alone: STORE_EXISTS. */
export async function createDiskFiles(plan: DiskFilePlan, signal?: AbortSignal): Promise<readonly string[]> {
  const made: string[] = [];
  for (const { path, format, action, virtualSizeBytes = 0 } of plan.files) {
    if (action !== 'create') continue;
    await createEmpty(path, format, virtualSizeBytes, signal);
    made.push(path);
  }
  return made;
}

/**
 * Compares the checksums of the disks that are there: SHA-256 where it is given, else SHA-1. Throws IMAGE_MALFORMED
 * for the first that differs.
 */
export async function verifyChecksums({ machine, files }: DiskFilePlan, signal?: AbortSignal): Promise<void> {
  for (const { index, path, action } of files) {
    const { checksums = {} } = machine.disks[index] ?? {};
    const type = Object.keys(checksumDigits).find((known) => checksums[known] !== undefined);
    if (type === undefined || action !== 'use') continue;
    const hash = createHash(type);
    try {
      await pipeline(createReadStream(path), hash, { signal });
    } catch (error) {
      signal?.throwIfAborted();
      throw storeError(error, path);
    }
    const found = hash.digest('hex');
    if (found === checksums[type]?.toLowerCase()) continue;
    throw new ImageError(
      'IMAGE_MALFORMED',
      `the ${type} of ${path} is ${found}, and not what the descriptor says`,
      {
        structure: 'virt-image checksum',
        hint: 'the file is damaged, or was written to since: copy it again',
      },
    );
  }
}

async function placeOf(path: string, { folder, anyPath }: DiskFileOptions): Promise<string> {
  const place = resolve(folder, path);
  if (anyPath === true) return place;
  // Domain XML has no other paths than absolute ones: those to files in the folder lead nowhere else.
  const name = isAbsolute(path) ? relative(resolve(folder), path) : path;
  const why = outsideOfFolder(name) ?? (await linkOutside(place, folder));
  if (why === undefined) return place;
  throw new StoreError('STORE_REFUSED', `${JSON.stringify(path)} ${why}`, {
    where: path,
    hint: 'put the file into the folder of the descriptor, or say --any-path when you trust who wrote it',
  });
}

/** Links may lead anywhere; what counts is where the file, or the folder that it would be made in, really is. */
async function linkOutside(place: string, folder: string): Promise<string | undefined> {
  const inside = await realpath(folder).catch((error) => {
    throw storeError(error, folder);
  });
  const isLink = (await lstat(place).catch(() => undefined))?.isSymbolicLink() === true;
  const real = await realpath(place).catch(() => undefined);
  if (real === undefined && isLink) return 'is a link to nothing';
  const parent = real ?? (await realpath(dirname(place)).catch(() => undefined));
  if (parent === undefined) return undefined;
  const way = relative(inside, parent);
  const isOutside = way === '..' || way.startsWith(`..${sep}`) || resolve(way) === way;
  return isOutside ? 'is a link that leads out of the folder of the descriptor' : undefined;
}

function unlessMissing(error: unknown, path: string): undefined {
  if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
    return undefined;
  throw storeError(error, path);
}

async function existing(path: string, options: DiskFileOptions): Promise<string> {
  const place = await placeOf(path, options);
  const found = await stat(place).catch((error) => unlessMissing(error, place));
  if (found?.isFile()) return place;
  throw notThere('the kernel, or its initrd,', place);
}

function notThere(what: string, path: string): StoreError {
  return new StoreError('STORE_NOT_FOUND', `${what} ${path} is not there`, {
    where: path,
    hint: 'put the file beside the descriptor',
  });
}

function missing(disk: MachineDisk, path: string, format: string): { readonly virtualSizeBytes: number } {
  const { role, device, virtualSizeBytes } = disk;
  if (role === 'system' || device !== 'disk')
    throw notThere(device === 'disk' ? 'the system disk' : `the ${device}`, path);
  if (virtualSizeBytes === undefined) {
    throw new ImageError('IMAGE_OPTION', `${path} is missing, and cannot be made without a size`, {
      structure: 'disk size',
      hint: 'give the disk a size in the descriptor, or put the file there',
    });
  }
  if (madeFormats.includes(format)) return { virtualSizeBytes };
  throw new ImageError(
    'IMAGE_OPTION',
    `${path} is missing, and an empty disk of the format ${format} is not made`,
    {
      structure: 'disk format',
      hint: `choose one of ${madeFormats.join(', ')}, or put the file there`,
    },
  );
}

/** Opens a disk as it is described, so that nothing else is opened or guessed later. */
async function lookedAt(
  path: string,
  { device }: MachineDisk,
  format: string,
  { anyPath, signal }: DiskFileOptions,
): Promise<string[]> {
  const source = await fileSource(path);
  try {
    if (format === 'raw' || device !== 'disk') {
      const marked = await probeFormat(source, signal).catch(() => undefined);
      const isOdd = marked !== undefined && marked.name !== 'raw' && marked.name !== 'iso';
      return isOdd
        ? [`${path} looks like ${marked.name}, and is described as ${format}: the guest sees its bytes`]
        : [];
    }
    if (anyPath === true) return [];
    const disk = await openDisk(source, { format, references: denyReferences, signal });
    await disk.close();
    const warnings = disk.warnings.map((warning) => `${path}: ${warning}`);
    // As appliances have them: their grains are packed one behind the other.
    if (disk.details.createType === 'streamOptimized')
      warnings.push(
        `${path} is a VMDK for transport (streamOptimized): convert it, as no guest can write to it`,
      );
    return warnings;
  } catch (error) {
    if (error instanceof ImageError) error.message = `${path}: ${error.message}`;
    throw error;
  } finally {
    await source.close();
  }
}

/** Made beside its place and linked there, which fails where something stands: nothing is overwritten. */
async function createEmpty(
  path: string,
  format: string,
  virtualSizeBytes: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const folder = await mkdtemp(join(dirname(path), '.gantry-')).catch((error) => {
    throw storeError(error, dirname(path));
  });
  try {
    const file = join(folder, basename(path));
    await convert(emptyDisk(virtualSizeBytes), await fileSink(file), { format, signal });
    await linkOrCopy(file, path);
  } catch (error) {
    throw storeError(error, path);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Some file systems have no links; a copy that fails where something stands is made there. */
async function linkOrCopy(file: string, path: string): Promise<void> {
  try {
    await link(file, path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'ENOSYS') throw error;
    await copyFile(file, path, constants.COPYFILE_EXCL);
  }
}

/** A disk that nobody has written to. */
export function emptyDisk(virtualSizeBytes: number): Disk {
  return {
    format: 'raw',
    virtualSizeBytes,
    details: {},
    warnings: [],
    async *extents(fromBytes, toBytes) {
      if (fromBytes < toBytes)
        yield { offsetBytes: fromBytes, lengthBytes: toBytes - fromBytes, kind: 'hole' };
    },
    async read(_, into) {
      into.fill(0);
    },
    async close() {},
  };
}
