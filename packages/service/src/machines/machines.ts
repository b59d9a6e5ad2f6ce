import { join } from 'node:path';
import { StoreError } from '@gantry/disk';
import { type HypervisorDriver, QemuDriver } from '@gantry/machine';
import type { Database } from '../db/database.ts';
import { DomainError } from '../domain/errors.ts';
import type { Logger } from '../logger.ts';
import type { Vault } from '../vault/vault.ts';
import type { InstanceNetwork } from './instance-machine.ts';
import { PowerWatch } from './power-watch.ts';
import { VolumeFiles } from './volume-files.ts';

export interface MachinesOptions {
  readonly database: Database;
  readonly vault: Vault;
  readonly logger: Logger;
  /** `none`: instances are records. */
  readonly hypervisor: 'qemu' | 'none';
  readonly network: InstanceNetwork;
  /** Where files of volumes stand, folders of machines, and the socket at which the vault's content is read. */
  readonly volumeFolder: string;
  readonly machineFolder: string;
  readonly socketPath: string;
}

/** What runs instances: a hypervisor's driver, who watches it, and the files that it takes. */
export interface RunningMachines {
  readonly driver: HypervisorDriver;
  readonly watch: PowerWatch;
}

/** The hypervisor's side of instances. */
export class Machines {
  readonly files: VolumeFiles;
  readonly network: InstanceNetwork;
  readonly #running: RunningMachines | undefined;
  /** Why the hypervisor that was asked for is not used. */
  readonly #obstacle: StoreError | undefined;

  private constructor(
    files: VolumeFiles,
    network: InstanceNetwork,
    running: RunningMachines | undefined,
    obstacle: StoreError | undefined,
  ) {
    this.files = files;
    this.network = network;
    this.#running = running;
    this.#obstacle = obstacle;
  }

  /** Adopts what runs. A data folder in which no machine can run serves all other things. */
  static async open(options: MachinesOptions): Promise<Machines> {
    const { database, vault, logger, hypervisor, network, volumeFolder: folder, machineFolder } = options;
    let driver: HypervisorDriver | undefined;
    let obstacle: StoreError | undefined;
    try {
      if (hypervisor === 'qemu') driver = new QemuDriver({ folder: machineFolder });
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      obstacle = error;
      logger.warn({ err: error }, 'instances cannot run here');
    }
    const socketPath = driver === undefined ? undefined : options.socketPath;
    const files = await VolumeFiles.open({ database, vault, logger, folder, socketPath });
    try {
      const running = driver && { driver, watch: new PowerWatch(database, driver, logger) };
      await running?.watch.start();
      return new Machines(files, network, running, obstacle);
    } catch (error) {
      await driver?.close();
      await files.close();
      throw error;
    }
  }

  /** Undefined where instances are records. Throws STORE_REFUSED when the hypervisor cannot be used. */
  get running(): RunningMachines | undefined {
    if (this.#obstacle !== undefined) throw this.#obstacle;
    return this.#running;
  }

  /** Throws CONFLICT where instances are records. */
  require(): RunningMachines {
    const { running } = this;
    if (running !== undefined) return running;
    throw new DomainError('CONFLICT', 'no hypervisor is connected to this service: instances are records', {
      hint: 'start the service with --hypervisor qemu, or export the image and start it elsewhere',
    });
  }

  /** Lets go of machines: they go on. */
  async close(): Promise<void> {
    await this.#running?.watch.close();
    await this.#running?.driver.close();
    await this.files.close();
  }
}

/** The folders of a data folder that belong to machines. Short names: the paths of sockets have a hundred bytes. */
export function machinePaths(
  dataFolder: string,
): Pick<MachinesOptions, 'volumeFolder' | 'machineFolder' | 'socketPath'> {
  return {
    volumeFolder: join(dataFolder, 'volumes'),
    machineFolder: join(dataFolder, 'machines'),
    socketPath: join(dataFolder, 'volumes.nbd'),
  };
}
