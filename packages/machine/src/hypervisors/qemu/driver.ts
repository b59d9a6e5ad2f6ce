import { constants } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, truncate } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { ImageError, StoreError, storeError, syncFolder } from '@gantry/disk';
import { type FoundFirmware, findFirmware } from '../../host/firmware.ts';
import { qemuHost } from '../../host/qemu.ts';
import type { Architecture, Loss } from '../../model.ts';
import type {
  BackedDisk,
  Capture,
  CaptureRequest,
  DefinedMachine,
  HypervisorDriver,
  MachineConsole,
  MachineStatus,
  StopRequest,
} from '../driver.ts';
import { readRecord, writeRecord } from '../records.ts';
import { consoleOf } from '../serial-log.ts';
import { captureIdsOf } from './capture-records.ts';
import { capture, releaseCapture } from './captures.ts';
import { type QemuCommand, qemuCommand, type UefiFiles } from './command.ts';
import { withNeededBacking } from './delta.ts';
import { plug, requireHotplug, unplug } from './disks.ts';
import { type FolderLock, lockFolder } from './folder-lock.ts';
import { detachedOptions, type MachineFolder, machineFolder, requireShortFolder } from './machine-folder.ts';
import { endFill, type FillState, fill } from './materialize.ts';
import { converse } from './monitor.ts';
import { askToEnd } from './power.ts';
import { complaint, isGoneWithin, killProcess, qemuFailed, spawnDetached } from './process.ts';
import type { QmpClient } from './qmp.ts';
import type { DefinitionRecord, RunRecord } from './records.ts';
import { finish, qemuState, quit, restart, statusOf } from './run-state.ts';
import { connectInTurn } from './sockets.ts';
import { SERIAL_LOG_KEPT_BYTES, trimLogs } from './trim-logs.ts';
import { Watch } from './watch.ts';

export interface QemuDriverOptions {
  /** A folder of this process's user alone, with a folder for each machine. Made when it is not there. */
  readonly folder: string;
  /** Default: KVM where this host has it for the guest, else `tcg`. */
  readonly accelerator?: 'kvm' | 'tcg' | undefined;
  /** Where descriptors of UEFI firmware are, in the order of QEMU: later ones go before. Default: where QEMU has them. */
  readonly firmwareFolders?: readonly string[] | undefined;
  /** The folders to look for QEMU's programs in, as `PATH` has them, which is the default. */
  readonly path?: string | undefined;
  /** Whether QEMU gives up system calls that it does not need. Default: on Linux. */
  readonly sandbox?: boolean | undefined;
}

/** How often the filling of disks is looked at. */
const LOOK_MS = 200;
/** A capture that waits for the guest to end has its own time for it. */
const STOP_WAIT_MS = 600_000;

/**
 * Machines that QEMU runs directly, each in a folder of its own. They go on when this process ends, and any other
 * process that has the folder finds them again. Nothing is kept in memory: what a machine is and does stands in its
 * folder and is asked of its QEMU.
 */
export class QemuDriver implements HypervisorDriver {
  readonly kind = 'qemu' as const;
  readonly #folder: string;
  readonly #options: QemuDriverOptions;
  readonly #watches = new Map<string, Watch>();

  /** Throws STORE_REFUSED for a folder with a path so long that sockets in it have no address. */
  constructor(options: QemuDriverOptions) {
    this.#options = options;
    this.#folder = resolve(options.folder);
    requireShortFolder(this.#folder);
  }

  async check(machine: DefinedMachine): Promise<readonly Loss[]> {
    const folder = machineFolder(this.#folder, 'check');
    const firmware = await findFirmware(machine, this.#options.firmwareFolders);
    return (await this.#command(machine, folder, firmware)).losses;
  }

  async define(id: string, machine: DefinedMachine): Promise<void> {
    const folder = machineFolder(this.#folder, id);
    const firmware = await findFirmware(machine, this.#options.firmwareFolders);
    await this.#command(machine, folder, firmware);
    await this.#exclusively(folder, 'it is being defined', async () => {
      await finish(folder);
      const state = await qemuState(folder);
      const run = await readRecord<RunRecord>(folder.run);
      if (state === 'shutdown') throw refused(id, 'a capture reads its disks', 'wait until that has ended');
      else if (state === 'prelaunch') await quit(folder, run?.reason);
      else if (state !== undefined) throw refused(id, 'it runs', 'stop it first');
      const before = await readRecord<DefinitionRecord>(folder.definition).catch(() => undefined);
      // Variables belong to the code that wrote them.
      if (before?.firmware?.templatePath !== firmware?.templatePath)
        await rm(folder.variables, { force: true });
      await writeRecord(folder.definition, { version: 1, machine, firmware } satisfies DefinitionRecord);
      await syncFolder(this.#folder);
    });
  }

  async list(): Promise<readonly string[]> {
    const names = await readdir(this.#folder).catch(unlessMissing(this.#folder, []));
    const found = await Promise.all(
      names.map((name) =>
        stat(join(this.#folder, name, 'definition.json')).then(
          () => [name],
          () => [],
        ),
      ),
    );
    return found.flat().sort();
  }

  async status(id: string): Promise<MachineStatus> {
    const folder = await this.#known(id);
    await trimLogs(folder);
    return statusOf(folder);
  }

  async start(id: string, signal?: AbortSignal): Promise<void> {
    const folder = await this.#known(id);
    await this.#exclusively(
      folder,
      'it is being started',
      async () => {
        await finish(folder);
        const state = await qemuState(folder);
        if (state === 'running') return;
        // A capture still reads what it had before.
        if (state === 'shutdown') return restart(folder);
        if (state === undefined) await this.#launch(folder);
        if (state === undefined || state === 'prelaunch')
          await writeRecord(folder.run, { version: 1, phase: 'running' } satisfies RunRecord);
        await this.#told(id, folder, (qmp) => qmp.execute('cont'));
      },
      signal,
    );
  }

  async stop(id: string, { graceMs, signal }: StopRequest): Promise<'graceful' | 'forced'> {
    const folder = await this.#known(id);
    signal?.throwIfAborted();
    await this.#forgetReboot(folder, signal);
    const state = await qemuState(folder);
    if (graceMs > 0 && state !== undefined && state !== 'prelaunch') await askToEnd(folder, graceMs, signal);
    return this.#exclusively(folder, 'it is being stopped', async () => {
      await finish(folder);
      const left = await qemuState(folder);
      // One whose guest has ended stays as long as a capture needs it.
      if (left === 'prelaunch') await this.#endUnused(folder);
      else if (left !== undefined && left !== 'shutdown') await quit(folder, 'forced');
      const { phase, reason } = (await readRecord<RunRecord>(folder.run)) ?? {};
      const isTorn =
        reason === 'forced' || reason === 'crashed' || (left === undefined && phase === 'running');
      return isTorn ? 'forced' : 'graceful';
    });
  }

  /** A guest that ends now is not to start again, as one does whose capture was given up. */
  async #forgetReboot(folder: MachineFolder, signal: AbortSignal | undefined): Promise<void> {
    const record = await readRecord<RunRecord>(folder.run);
    if (record?.isRebooting !== true) return;
    const lock = await lockFolder(folder.lock, {
      purpose: 'it is being stopped',
      waitMs: STOP_WAIT_MS,
      signal,
    });
    try {
      const { isRebooting: _, ...kept } = (await readRecord<RunRecord>(folder.run)) ?? record;
      await writeRecord(folder.run, kept);
    } finally {
      await lock.release();
    }
  }

  async reset(id: string): Promise<void> {
    const folder = await this.#running(id);
    await this.#told(id, folder, (qmp) => qmp.execute('system_reset'));
  }

  async pause(id: string): Promise<void> {
    const folder = await this.#running(id);
    await this.#told(id, folder, (qmp) => qmp.execute('stop'));
  }

  watch(id: string, onChange: () => void, signal: AbortSignal): void {
    if (signal.aborted) return;
    const watch = this.#watches.get(id) ?? new Watch(machineFolder(this.#folder, id));
    this.#watches.set(id, watch);
    // One that is given twice is called twice.
    const listener = () => onChange();
    watch.add(listener);
    signal.addEventListener(
      'abort',
      () => {
        watch.delete(listener);
        if (!watch.isIdle) return;
        watch.close();
        if (this.#watches.get(id) === watch) this.#watches.delete(id);
      },
      { once: true },
    );
  }

  async console(id: string): Promise<MachineConsole> {
    const { serialLog } = await this.#known(id);
    return consoleOf(serialLog, SERIAL_LOG_KEPT_BYTES);
  }

  async openConsole(id: string): Promise<Duplex> {
    const { serial } = await this.#running(id);
    return this.#connected(id, serial);
  }

  async openScreen(id: string): Promise<Duplex> {
    const { screen } = await this.#withScreen(id);
    return this.#connected(id, screen);
  }

  async screenshot(id: string): Promise<Uint8Array> {
    const folder = await this.#withScreen(id);
    const path = join(folder.path, `screenshot-${crypto.randomUUID()}.png`);
    try {
      await this.#told(id, folder, (qmp) => qmp.execute('screendump', { filename: path, format: 'png' }));
      return await readFile(path);
    } catch (error) {
      throw storeError(error, path);
    } finally {
      await rm(path, { force: true });
    }
  }

  async attachDisk(id: string, disk: BackedDisk, signal?: AbortSignal): Promise<void> {
    const folder = await this.#known(id);
    await this.#exclusively(
      folder,
      'a disk is being attached',
      async () => {
        const { machine, firmware, ...record } = await this.#definition(id, folder);
        const others = machine.disks.filter(({ path }) => path !== disk.path);
        const changed = { ...machine, disks: [...others, { ...disk, bus: disk.bus ?? 'virtio' }] };
        await this.#command(changed, folder, firmware);
        const state = await qemuState(folder);
        if (state !== undefined) {
          requireHotplug(disk, machine);
          const [needed = disk] = (await withNeededBacking({ ...machine, disks: [disk] })).disks;
          await this.#told(id, folder, (qmp) => plug(qmp, needed, { ...machine, disks: others }));
        }
        await writeRecord(folder.definition, { ...record, machine: changed, firmware });
      },
      signal,
    );
  }

  async detachDisk(id: string, path: string, signal?: AbortSignal): Promise<void> {
    const folder = await this.#known(id);
    await this.#exclusively(
      folder,
      'a disk is being detached',
      async () => {
        const record = await this.#definition(id, folder);
        // One that is not there may be left of an attachment that was interrupted.
        const disk = record.machine.disks.find((candidate) => candidate.path === path) ?? {
          role: 'user',
          device: 'disk',
          path,
        };
        await converse(folder.qmp, (qmp) => unplug(qmp, disk, signal));
        const disks = record.machine.disks.filter((other) => other !== disk);
        await writeRecord(folder.definition, { ...record, machine: { ...record.machine, disks } });
      },
      signal,
    );
  }

  async capture(id: string, request: CaptureRequest): Promise<Capture> {
    return capture(await this.#known(id), request);
  }

  async captures(id: string): Promise<readonly string[]> {
    return captureIdsOf(await this.#known(id));
  }

  async releaseCapture(id: string, captureId: string): Promise<void> {
    await releaseCapture(await this.#known(id), captureId);
  }

  async materialize(
    id: string,
    onProgress: (doneBytes: number, totalBytes: number) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    const folder = await this.#known(id);
    const begun = new Set<string>();
    for (;;) {
      const fills = await this.#exclusively(
        folder,
        'its disks are being filled',
        () => this.#fillStep(folder, begun),
        signal,
      );
      const sum = (field: 'doneBytes' | 'totalBytes') =>
        fills.reduce((total, each) => total + each[field], 0);
      onProgress(sum('doneBytes'), sum('totalBytes'));
      if (fills.every(({ state }) => state === 'whole')) return;
      try {
        await delay(LOOK_MS, undefined, { signal });
      } catch {
        await this.#endFills(id, folder);
        signal?.throwIfAborted();
      }
    }
  }

  /** A machine that does not run gets a QEMU for it, whose guest waits. */
  async #fillStep(folder: MachineFolder, begun: Set<string>): Promise<readonly FillState[]> {
    const record = await this.#definition(folder.path, folder);
    const { disks } = await withNeededBacking(record.machine);
    const isWhole = (at: number) => disks[at]?.backing === undefined;
    if (disks.some((_, at) => !isWhole(at)) && (await qemuState(folder)) === undefined)
      await this.#launch(folder);
    const fills: FillState[] = [];
    for (const [at, disk] of record.machine.disks.entries()) {
      const { backing, path = '' } = disk;
      if (backing === undefined) continue;
      const fillState = await converse(folder.qmp, (qmp) => fill(qmp, disk));
      fills.push(fillState ?? { doneBytes: 0, totalBytes: 0, state: isWhole(at) ? 'whole' : 'filling' });
      if (fillState?.state !== 'begun') continue;
      if (begun.has(path)) {
        await this.#endFills(folder.path, folder);
        throw new StoreError('STORE_IO', `QEMU cannot fill ${path} with what is behind it`, {
          where: path,
          hint: 'look whether there is space left, and try again: what is filled stays so',
        });
      }
      begun.add(path);
    }
    if (fills.every(({ state }) => state === 'whole')) {
      await writeRecord(folder.definition, { ...record, machine: await withNeededBacking(record.machine) });
      await this.#endUnused(folder);
    }
    return fills;
  }

  async #endFills(id: string, folder: MachineFolder): Promise<void> {
    const { machine } = await this.#definition(id, folder);
    for (const disk of machine.disks) if (disk.backing !== undefined) await endFill(folder, disk);
    await this.#endUnused(folder);
  }

  /** Ends a QEMU that was started for its disks only. */
  async #endUnused(folder: MachineFolder): Promise<void> {
    if ((await qemuState(folder)) !== 'prelaunch') return;
    const { reason } = (await readRecord<RunRecord>(folder.run)) ?? {};
    await quit(folder, reason);
  }

  async undefine(id: string): Promise<void> {
    const folder = machineFolder(this.#folder, id);
    const isThere = await stat(folder.path).then(() => true, unlessMissing(folder.path, false));
    if (!isThere) return;
    await this.#exclusively(folder, 'it is being undefined', async () => {
      if ((await qemuState(folder)) !== undefined) await quit(folder, 'forced');
      // One that does not listen yet, or not any more.
      await killProcess(folder);
      await isGoneWithin(folder, KILLED_MS);
      await rm(folder.definition, { force: true });
      // Whoever waits may make a socket meanwhile.
      await rm(folder.path, { recursive: true, force: true, maxRetries: 10, retryDelay: 10 });
    });
  }

  async close(): Promise<void> {
    for (const watch of this.#watches.values()) watch.close();
    this.#watches.clear();
  }

  /** Starts QEMU, which waits before the guest's first instruction. */
  async #launch(folder: MachineFolder): Promise<void> {
    const { machine, firmware } = await this.#definition(folder.path, folder);
    if (firmware !== undefined) await copyOnce(firmware.templatePath, folder.variables);
    const command = await this.#command(await withNeededBacking(machine), folder, firmware);
    // What was held ended with the last QEMU.
    await rm(folder.captures, { recursive: true, force: true });
    // QEMU appends to it, also one that a process which is gone has started just now.
    await truncate(folder.serialLog, 0).catch(unlessMissing(folder.serialLog, undefined));
    const last = await readRecord<RunRecord>(folder.run);
    const reason = last?.phase === 'running' ? 'crashed' : last?.reason;
    await writeRecord(folder.run, { version: 1, phase: 'starting', reason } satisfies RunRecord);
    await spawnDetached(command, folder);
    // Its answer says that all files are open.
    const state = await qemuState(folder).catch(() => undefined);
    if (state !== undefined) return;
    throw qemuFailed(command.program, (await complaint(folder)) || 'it ended before it said that it runs');
  }

  async #command(
    machine: DefinedMachine,
    folder: MachineFolder,
    firmware: FoundFirmware | undefined,
  ): Promise<QemuCommand> {
    requirePaths(machine);
    const { accelerator, sandbox = process.platform === 'linux' } = this.#options;
    const guest = await this.#guestOf(machine.architecture);
    const hasKvm = guest.domainTypes.includes('kvm');
    return qemuCommand(machine, {
      accelerator: accelerator ?? (hasKvm ? 'kvm' : 'tcg'),
      program: guest.emulator,
      uefi: uefiOf(firmware, folder),
      detached: detachedOptions(folder, sandbox),
    });
  }

  async #guestOf(architecture: Architecture) {
    const { guests } = await qemuHost({ path: this.#options.path ?? process.env.PATH ?? '' });
    const guest = guests.find((candidate) => candidate.architecture === architecture);
    if (guest !== undefined) return guest;
    throw new ImageError('IMAGE_UNSUPPORTED', `no QEMU for ${architecture} is installed here`, {
      structure: 'machine architecture',
      hint: 'install it: apt-get install qemu-system-x86, or -arm, -ppc, -misc',
    });
  }

  async #known(id: string): Promise<MachineFolder> {
    const folder = machineFolder(this.#folder, id);
    await this.#definition(id, folder);
    return folder;
  }

  async #definition(id: string, { definition }: MachineFolder): Promise<DefinitionRecord> {
    const record = await readRecord<DefinitionRecord>(definition);
    if (record !== undefined) return record;
    throw new StoreError('STORE_NOT_FOUND', `there is no machine ${id}`, {
      where: definition,
      hint: 'list the machines that are defined',
    });
  }

  /** The folder of a machine that runs, or stands still. */
  async #running(id: string): Promise<MachineFolder> {
    const folder = await this.#known(id);
    const { state } = await statusOf(folder);
    if (state === 'running' || state === 'paused') return folder;
    throw refused(id, 'it does not run', 'start it first');
  }

  async #withScreen(id: string): Promise<MachineFolder> {
    const folder = await this.#running(id);
    const { machine } = await this.#definition(id, folder);
    if (machine.graphics !== undefined) return folder;
    throw refused(id, 'it has no screen', 'define it with graphics');
  }

  async #told<Result>(
    id: string,
    folder: MachineFolder,
    task: (qmp: QmpClient) => Promise<Result>,
  ): Promise<Result> {
    const result = await converse(folder.qmp, async (qmp) => ({ value: await task(qmp) }));
    if (result === undefined) throw refused(id, 'it does not run', 'start it first');
    return result.value;
  }

  async #connected(id: string, path: string): Promise<Duplex> {
    const socket = await connectInTurn(path, AbortSignal.timeout(CONNECT_MS)).catch((error) => {
      throw error instanceof Error && error.name === 'TimeoutError'
        ? refused(id, 'others are connected already', 'end one of their connections')
        : storeError(error, path);
    });
    if (socket === undefined) throw refused(id, 'it does not run', 'start it first');
    return socket;
  }

  async #exclusively<Result>(
    folder: MachineFolder,
    purpose: string,
    task: () => Promise<Result>,
    signal?: AbortSignal,
  ): Promise<Result> {
    await mkdir(folder.path, { recursive: true, mode: 0o700 }).catch((error) => {
      throw storeError(error, folder.path);
    });
    const lock: FolderLock = await lockFolder(folder.lock, { purpose, signal });
    try {
      return await task();
    } finally {
      await lock.release();
    }
  }
}

const CONNECT_MS = 10_000;
const KILLED_MS = 10_000;

function refused(id: string, why: string, hint: string): StoreError {
  return new StoreError('STORE_REFUSED', `${id}: ${why}`, { where: id, hint });
}

function unlessMissing<Value>(where: string, value: Value): (error: unknown) => Value {
  return (error) => {
    const failure = storeError(error, where);
    if (failure instanceof StoreError && failure.code === 'STORE_NOT_FOUND') return value;
    throw failure;
  };
}

function uefiOf(firmware: FoundFirmware | undefined, { variables }: MachineFolder): UefiFiles | undefined {
  if (firmware === undefined) return undefined;
  const { templatePath: _, ...code } = firmware;
  return { ...code, variablesPath: variables };
}

/** Disks are known by their paths, which do not depend on where this process is. */
function requirePaths({ disks }: DefinedMachine): void {
  const seen = new Set<string>();
  for (const [index, { path, backing, format }] of disks.entries()) {
    const refuse = (message: string, hint: string): never => {
      throw new ImageError('IMAGE_OPTION', `disks[${index}]: ${message}`, {
        structure: `machine disks[${index}]`,
        hint,
      });
    };
    if (backing !== undefined && (path === undefined || format !== 'qcow2'))
      refuse('what shows through needs a qcow2 image above it', 'make an overlay for the disk');
    if (path === undefined) continue;
    if (resolve(path) !== path) refuse(`${path} is no absolute path`, 'give the whole path');
    if (seen.has(path)) refuse(`${path} is attached twice`, 'make a copy of it for the second disk');
    seen.add(path);
  }
}

async function copyOnce(template: string, path: string): Promise<void> {
  const isThere = await stat(path).then(() => true, unlessMissing(path, false));
  if (isThere) return;
  const partial = `${path}.partial`;
  try {
    await copyFile(template, partial, constants.COPYFILE_FICLONE);
    await rename(partial, path);
  } catch (error) {
    throw storeError(error, template);
  }
}
