import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { ImageError, StoreError } from '@gantry/disk';
import { type Hardware, hardwareOf } from '../../descriptors/virtualbox/hardware.ts';
import { attachOptions, controllerOptions, modifyOptions } from '../../descriptors/virtualbox/script.ts';
import { Losses } from '../../losses.ts';
import type { Loss } from '../../model.ts';
import type {
  BackedDisk,
  Capture,
  DefinedMachine,
  HypervisorDriver,
  MachineConsole,
  MachineStatus,
  StopRequest,
} from '../driver.ts';
import { consoleOf } from '../serial-log.ts';
import { machineReadable, runVBoxManage } from './vboxmanage.ts';

export interface VirtualBoxDriverOptions {
  /** Where the settings of machines and what their guests write to the serial port are kept. */
  readonly folder: string;
  /** Default: `VBoxManage`, by `PATH`. */
  readonly program?: string | undefined;
}

/** VirtualBox's own words (MachineState), as `showvminfo --machinereadable` has them. */
const states: Readonly<Record<string, MachineStatus['state']>> = {
  poweroff: 'stopped',
  saved: 'stopped',
  teleported: 'stopped',
  aborted: 'crashed',
  'aborted-saved': 'crashed',
  running: 'running',
  starting: 'running',
  stopping: 'running',
  restoring: 'running',
  saving: 'running',
  paused: 'paused',
  gurumeditation: 'paused',
};

const POLL_MS = 100;
const LOOK_MS = 1000;
const PRESS_AGAIN_MS = 10_000;
/** The first serial port of a PC: its address and its interrupt. */
const FIRST_PORT = ['0x3F8', '4'] as const;
const SATA = 'SATA';

/**
 * Machines of VirtualBox, spoken to through VBoxManage. The id of a machine is its name there. VirtualBox never deletes
 * anything for this driver: its `unregistervm --delete` takes the disks too.
 */
export class VirtualBoxDriver implements HypervisorDriver {
  readonly kind = 'virtualbox' as const;
  readonly #folder: string;
  readonly #program: string;

  constructor({ folder, program = 'VBoxManage' }: VirtualBoxDriverOptions) {
    this.#folder = resolve(folder);
    this.#program = program;
  }

  async check(machine: DefinedMachine): Promise<readonly Loss[]> {
    const losses = new Losses();
    hardwareFor('check', machine, losses);
    return losses.all;
  }

  async define(id: string, machine: DefinedMachine): Promise<void> {
    const hardware = hardwareFor(id, machine, new Losses());
    if ((await this.list()).includes(id)) {
      await this.#requireStopped(id, 'it runs');
      await this.#forget(id);
    }
    await mkdir(this.#folder, { recursive: true });
    // Left of a definition that was interrupted; settings only.
    await rm(join(this.#folder, id), { recursive: true, force: true });
    try {
      await this.#make(id, hardware);
    } catch (error) {
      await this.#forget(id).catch(() => {});
      throw error;
    }
  }

  async list(): Promise<readonly string[]> {
    const text = await this.#run('list', 'vms');
    return [...text.matchAll(/^"(.*)" \{[0-9a-f-]+\}$/gm)].map(([, name = '']) => name).sort();
  }

  async status(id: string): Promise<MachineStatus> {
    const word = (await this.#info(id)).get('VMState') ?? '';
    const state = states[word];
    if (state === undefined)
      throw new StoreError('STORE_IO', `VirtualBox says that ${id} is ${JSON.stringify(word)}`, {
        where: id,
      });
    return { state, ...(word !== state && { reason: word }) };
  }

  async start(id: string, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const { state } = await this.status(id);
    if (state === 'running') return;
    if (state === 'paused') await this.#run('controlvm', id, 'resume');
    else await this.#run('startvm', id, '--type', 'headless');
  }

  async stop(id: string, { graceMs, signal }: StopRequest): Promise<'graceful' | 'forced'> {
    const endMs = Date.now() + graceMs;
    for (let pressAgainMs = 0; ; ) {
      signal?.throwIfAborted();
      const { state } = await this.status(id);
      if (state === 'stopped') return 'graceful';
      if (state === 'crashed') return 'forced';
      if (Date.now() >= endMs) break;
      if (Date.now() >= pressAgainMs) {
        // A guest that stands still hears nothing.
        if (state === 'paused') await this.#run('controlvm', id, 'resume');
        await this.#run('controlvm', id, 'acpipowerbutton');
        pressAgainMs = Date.now() + PRESS_AGAIN_MS;
      }
      await delay(POLL_MS, undefined, { signal });
    }
    try {
      await this.#run('controlvm', id, 'poweroff');
    } catch (error) {
      // It ended by itself meanwhile.
      if ((await this.status(id)).state !== 'stopped') throw error;
      return 'graceful';
    }
    return 'forced';
  }

  async reset(id: string): Promise<void> {
    await this.#requireRunning(id);
    await this.#run('controlvm', id, 'reset');
  }

  async pause(id: string): Promise<void> {
    const { state } = await this.#requireRunning(id);
    if (state !== 'paused') await this.#run('controlvm', id, 'pause');
  }

  watch(id: string, onChange: () => void, signal: AbortSignal): void {
    this.#watch(id, onChange, signal).catch(() => {});
  }

  /** VBoxManage tells no events. */
  async #watch(id: string, onChange: () => void, signal: AbortSignal): Promise<void> {
    for (let before = ''; ; ) {
      const now = await this.status(id).then(JSON.stringify, () => 'none');
      if (signal.aborted) return;
      if (before !== '' && now !== before) onChange();
      before = now;
      await delay(LOOK_MS, undefined, { signal, ref: false });
    }
  }

  async console(id: string): Promise<MachineConsole> {
    await this.#info(id);
    const path = this.#serialLog(id);
    return consoleOf(path);
  }

  async openConsole(id: string): Promise<Duplex> {
    await this.#info(id);
    throw lacks(
      'conversation with the serial port of a machine',
      'what its guest writes can be read: console',
    );
  }

  async openScreen(id: string): Promise<Duplex> {
    await this.#info(id);
    throw lacks('screen by VNC', 'take pictures of it: screenshot');
  }

  async screenshot(id: string): Promise<Uint8Array> {
    await this.#requireRunning(id);
    const folder = await mkdtemp(join(tmpdir(), 'gantry-screen-'));
    try {
      const file = join(folder, 'screen.png');
      await this.#run('controlvm', id, 'screenshotpng', file);
      return await readFile(file);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async attachDisk(id: string, disk: BackedDisk): Promise<void> {
    const info = await this.#info(id);
    const { path = '' } = disk;
    if (placeOf(info, path) !== undefined) return;
    await this.#requireStopped(id, 'VirtualBox gives its guests no new disks while they run');
    // What it refuses is refused before anything is changed.
    const machine = {
      name: id,
      architecture: 'x86_64',
      firmware: 'bios',
      cpuCount: 1,
      memoryBytes: 2 ** 30,
    } as const;
    hardwareFor(id, { ...machine, clock: 'utc', nics: [], disks: [{ ...disk, bus: 'sata' }] }, new Losses());
    const controllers = numbered(info, 'storagecontrollername');
    const at = controllers.indexOf(SATA);
    if (at < 0) {
      const words = { name: SATA, add: 'sata', controller: 'IntelAhci', portcount: '1', bootable: 'on' };
      await this.#run('storagectl', id, ...options(words));
    }
    let port = 0;
    while (at >= 0 && (info.get(`${SATA}-${port}-0`) ?? 'none') !== 'none') port++;
    const portCount = at < 0 ? 1 : Number(info.get(`storagecontrollerportcount${at}`) ?? 1);
    if (port >= portCount)
      await this.#run('storagectl', id, ...options({ name: SATA, portcount: String(port + 1) }));
    const place = { storagectl: SATA, port: String(port), device: '0', type: 'hdd', medium: path };
    await this.#run('storageattach', id, ...options(place));
  }

  async detachDisk(id: string, path: string): Promise<void> {
    const place = placeOf(await this.#info(id), path);
    if (place === undefined) return;
    await this.#requireStopped(id, 'VirtualBox takes no disks from its guests while they run');
    await this.#run('storageattach', id, ...options({ ...place, medium: 'none' }));
  }

  async capture(id: string): Promise<Capture> {
    await this.#info(id);
    throw lacks('capture of a machine', 'stop the machine, and import or convert the files of its disks');
  }

  async captures(id: string): Promise<readonly string[]> {
    await this.#info(id);
    return [];
  }

  async releaseCapture(id: string): Promise<void> {
    await this.#info(id);
  }

  /** Nothing shows through: `define` refuses such disks. */
  async materialize(id: string, onProgress: (doneBytes: number, totalBytes: number) => void): Promise<void> {
    await this.#info(id);
    onProgress(0, 0);
  }

  async undefine(id: string): Promise<void> {
    if (!(await this.list()).includes(id)) return;
    const { state } = await this.status(id);
    if (state === 'running' || state === 'paused') await this.#run('controlvm', id, 'poweroff');
    await this.#forget(id);
  }

  async close(): Promise<void> {}

  async #make(id: string, hardware: Hardware): Promise<void> {
    const { uuid, osType: ostype, platform, controllers } = hardware;
    // Asked for since 7.1, and not known before.
    const version = (await this.#run('--version')).trim().split('\n').at(-1) ?? '';
    const isOld = /^(?:[0-6]\.|7\.0\.)/.test(version);
    if (isOld && platform === 'arm') throw lacks('ARM machine before its version 7.1', 'update VirtualBox');
    const words = { name: id, ostype, uuid, basefolder: this.#folder };
    const architecture = isOld ? {} : { 'platform-architecture': platform };
    await this.#run('createvm', ...options({ ...words, ...architecture }), '--register');
    await this.#run('modifyvm', id, ...options(modifyOptions(hardware)));
    const serial = ['--uart1', ...FIRST_PORT, '--uartmode1', 'file', this.#serialLog(id)];
    await this.#run('modifyvm', id, ...serial);
    for (const controller of controllers) {
      await this.#run('storagectl', id, ...options(controllerOptions(controller)));
      for (const device of controller.devices) {
        const medium = device.disk.path ?? 'emptydrive';
        await this.#run('storageattach', id, ...options({ ...attachOptions(controller, device), medium }));
      }
    }
  }

  /** Its settings go, and nothing else: the disks are taken out before. */
  async #forget(id: string): Promise<void> {
    const info = await this.#info(id);
    for (const name of numbered(info, 'storagecontrollername'))
      await this.#run('storagectl', id, '--name', name, '--remove');
    await this.#run('unregistervm', id);
    const folder = dirname(info.get('CfgFile') ?? '');
    if (folder === join(this.#folder, id) && basename(folder) === id)
      await rm(folder, { recursive: true, force: true });
  }

  #serialLog(id: string): string {
    return join(this.#folder, id, 'serial.log');
  }

  #run(...args: readonly string[]): Promise<string> {
    return runVBoxManage(this.#program, ...args);
  }

  async #info(id: string): Promise<ReadonlyMap<string, string>> {
    return machineReadable(await this.#run('showvminfo', requireId(id), '--machinereadable'));
  }

  async #requireRunning(id: string): Promise<MachineStatus> {
    const status = await this.status(id);
    if (status.state === 'running' || status.state === 'paused') return status;
    throw refused(id, 'it does not run', 'start it first');
  }

  async #requireStopped(id: string, why: string): Promise<void> {
    const { state } = await this.status(id);
    if (state === 'running' || state === 'paused') throw refused(id, why, 'stop it first');
  }
}

/** Throws IMAGE_UNSUPPORTED, IMAGE_OPTION for what VirtualBox does not run. */
function hardwareFor(id: string, machine: DefinedMachine, losses: Losses): Hardware {
  for (const [index, { path, backing }] of machine.disks.entries()) {
    if (backing !== undefined) throw lacks('disk with an export behind it', 'give it the whole image');
    if (path === undefined || resolve(path) === path) continue;
    throw new ImageError('IMAGE_OPTION', `disks[${index}]: ${path} is no absolute path`, {
      structure: `machine disks[${index}]`,
      hint: 'give the whole path',
    });
  }
  if (machine.name !== id) losses.add('name', machine.name, `VirtualBox knows it by its id, ${id}`);
  return hardwareOf({ ...machine, name: requireId(id) }, losses);
}

function options(values: Readonly<Record<string, string>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => [`--${name}`, value]);
}

/** The values of names that end in a number: `storagecontrollername0` and so on. */
function numbered(info: ReadonlyMap<string, string>, name: string): string[] {
  const found: string[] = [];
  for (let at = 0; info.has(`${name}${at}`); at++) found.push(info.get(`${name}${at}`) ?? '');
  return found;
}

/** Where a medium is attached. */
function placeOf(info: ReadonlyMap<string, string>, path: string) {
  for (const storagectl of numbered(info, 'storagecontrollername')) {
    for (const [name, value] of info) {
      const rest = name.startsWith(`${storagectl}-`) ? name.slice(storagectl.length + 1) : '';
      const [, port, device] = /^(\d+)-(\d+)$/.exec(rest) ?? [];
      if (value === path && port !== undefined && device !== undefined) return { storagectl, port, device };
    }
  }
  return undefined;
}

function requireId(id: string): string {
  // VBoxManage would take one that begins with - for an option.
  if (/^\w[\w.-]{0,63}$/.test(id)) return id;
  throw new ImageError('IMAGE_OPTION', `${JSON.stringify(id)} is no id of a machine of VirtualBox`, {
    structure: 'machine id',
    hint: 'use up to 64 letters, digits, -, _ and ., no - and no . first',
  });
}

function refused(id: string, why: string, hint: string): StoreError {
  return new StoreError('STORE_REFUSED', `${id}: ${why}`, { where: id, hint });
}

function lacks(what: string, hint: string): ImageError {
  return new ImageError('IMAGE_UNSUPPORTED', `VirtualBox has no ${what} for this driver`, {
    structure: 'VirtualBox',
    hint,
  });
}
