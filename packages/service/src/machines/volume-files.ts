import { mkdir, rm, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  convert,
  createOverlay,
  type Disk,
  fileSink,
  type NbdServer,
  nbdAddressText,
  type SocketAddress,
  serveNbd,
  storeError,
  syncFolder,
} from '@gantry/disk';
import type { NbdExport } from '@gantry/machine';
import type { Database } from '../db/database.ts';
import { updateVolume, volumesWithFiles } from '../db/repositories/volumes.ts';
import type { VolumeRow } from '../db/schema.ts';
import { DomainError } from '../domain/errors.ts';
import type { Logger } from '../logger.ts';
import { findManifest } from '../vault/manifests.ts';
import type { Vault } from '../vault/vault.ts';
import { emptyDisk, extendedDisk, wholeSectors } from './volume-disk.ts';

/** As many overlays can be read through at a time; a capture of a disk is one more client of its own. */
const CONNECTIONS_MAX = 1024;

export interface VolumeFileParts {
  readonly database: Database;
  readonly vault: Vault;
  readonly logger: Logger;
  /** Where the files stand. */
  readonly folder: string;
  /** Where the vault's side of them is served; undefined when nothing here reads it. */
  readonly socketPath: string | undefined;
}

/** A volume's file as a hypervisor takes it. */
export interface VolumeFile {
  readonly path: string;
  readonly backing: NbdExport | undefined;
}

/**
 * Files of volumes: each a qcow2 that holds what a guest wrote, over what its manifest lists, which an NBD server in
 * this process shows under the volume's id. A volume that no guest has had has none.
 */
export class VolumeFiles {
  readonly #parts: VolumeFileParts;
  readonly #server: NbdServer | undefined;
  readonly #shown: Map<string, Disk> = new Map();

  private constructor(parts: VolumeFileParts, server: NbdServer | undefined) {
    this.#parts = parts;
    this.#server = server;
  }

  /** Shows again what was shown before, and removes files of volumes that are deleted. Throws StoreError. */
  static async open(parts: VolumeFileParts): Promise<VolumeFiles> {
    const { database, logger, folder, socketPath } = parts;
    const made = await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error) => {
      throw storeError(error, folder);
    });
    if (made !== undefined) await syncFolder(dirname(made));
    const server =
      socketPath === undefined
        ? undefined
        : await serveNbd({
            address: addressOf(socketPath),
            exports: [],
            connectionsMax: CONNECTIONS_MAX,
            onError: (err) => logger.error({ err }, 'a volume could not be read'),
          });
    const files = new VolumeFiles(parts, server);
    try {
      for (const row of await volumesWithFiles(database.kysely, { isDeleted: true })) {
        await files.remove(row.id);
      }
      if (server === undefined) return files;
      for (const row of await volumesWithFiles(database.kysely, { isDeleted: false })) {
        if (row.file_state === 'overlay') await files.#show(row);
      }
      return files;
    } catch (error) {
      await files.close();
      throw error;
    }
  }

  /** Of a volume that has one. */
  fileOf({ id, file_state: state }: VolumeRow): VolumeFile {
    const { socketPath } = this.#parts;
    const isBacked = state === 'overlay' && socketPath !== undefined;
    return { path: this.#path(id), backing: isBacked ? { socketPath, name: id } : undefined };
  }

  /** Gives the volume a file, unless it has one: thin, whatever the volume holds. */
  async make(row: VolumeRow): Promise<VolumeRow> {
    if (row.file_state !== null) {
      if (row.file_state === 'overlay') await this.#show(row);
      return row;
    }
    const { database, socketPath } = this.#parts;
    const { id, manifest_id: manifestId, size_bytes: sizeBytes } = row;
    if (manifestId === null) {
      await convert(emptyDisk(sizeBytes), await fileSink(this.#path(id)), { format: 'qcow2' });
      return updateVolume(database.kysely, id, { file_state: 'whole' });
    }
    await this.#show(row);
    const manifest = await findManifest(database.kysely, manifestId);
    await createOverlay(this.#path(id), emptyDisk(sizeBytes), {
      digest: manifest?.disk_digest ?? '',
      // For whoever looks at the file alone: it is not the whole disk.
      backing: {
        name: nbdAddressText({ socket: addressOf(socketPath ?? ''), exportName: id }),
        format: 'raw',
      },
    });
    return updateVolume(database.kysely, id, { file_state: 'overlay' });
  }

  /** The same with all that the volume holds, so that the vault is needed no more. Throws STORE_FULL. */
  async copy(
    row: VolumeRow,
    onProgress: (doneBytes: number) => void,
    signal: AbortSignal,
  ): Promise<VolumeRow> {
    const { id, manifest_id: manifestId, size_bytes: sizeBytes } = row;
    const { vault, database } = this.#parts;
    if (row.file_state !== null || manifestId === null) return this.make(row);
    await this.requireRoom(manifestId);
    const disk = extendedDisk(await vault.openManifest(manifestId), sizeBytes);
    try {
      const sink = await fileSink(this.#path(id));
      await convert(disk, sink, {
        format: 'qcow2',
        signal,
        onProgress: ({ doneBytes }) => onProgress(doneBytes),
      });
    } finally {
      await disk.close();
    }
    return updateVolume(database.kysely, id, { file_state: 'whole', manifest_id: null });
  }

  /** Throws QUOTA when there is no room for all that the manifest holds. */
  async requireRoom(manifestId: string): Promise<void> {
    const { database, folder } = this.#parts;
    const neededBytes = (await findManifest(database.kysely, manifestId))?.data_bytes ?? 0;
    const { bavail, bsize } = await statfs(folder);
    if (neededBytes <= bavail * bsize) return;
    throw new DomainError(
      'QUOTA',
      `the disk holds ${neededBytes} bytes, and ${bavail * bsize} are free where volumes are kept`,
      {
        hint: 'delete volumes or objects, collect the vault with gantry vault gc, or give the data folder more room',
      },
    );
  }

  /** Lets go of the manifest behind a file that is whole now. */
  async release(id: string): Promise<void> {
    await this.#server?.remove(id);
    await this.#shown.get(id)?.close();
    this.#shown.delete(id);
  }

  /** Removes the file, if there is one: for a volume that nothing has any more. */
  async remove(id: string): Promise<void> {
    await this.release(id);
    await rm(this.#path(id), { force: true });
    await syncFolder(this.#parts.folder);
    await this.#parts.database.kysely
      .updateTable('volumes')
      .set({ file_state: null })
      .where('id', '=', id)
      .where('deleted_at_ms', 'is not', null)
      .execute();
  }

  /** Guests that read what is shown wait until it is shown again. */
  async close(): Promise<void> {
    await this.#server?.close();
    for (const disk of this.#shown.values()) await disk.close();
    this.#shown.clear();
  }

  /**
   * A file that is longer than what is behind it goes on with zeros: nobody has
   * to walk through them.
   */
  async #show({ id, manifest_id: manifestId }: VolumeRow): Promise<Disk> {
    const before = this.#shown.get(id);
    if (before !== undefined) return before;
    if (manifestId === null) throw new Error(`the volume ${id} has no manifest to show`);
    const content = await this.#parts.vault.openManifest(manifestId);
    const disk = extendedDisk(content, wholeSectors(content.virtualSizeBytes));
    this.#shown.set(id, disk);
    this.#server?.add({ name: id, disk });
    return disk;
  }

  #path(id: string): string {
    return join(this.#parts.folder, `${id}.qcow2`);
  }
}

function addressOf(path: string): SocketAddress {
  return { kind: 'unix', path };
}
