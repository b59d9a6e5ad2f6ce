import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { ImageError, StoreError, storeError } from '@gantry/disk';
import { readLibvirtDomain } from '../../descriptors/libvirt/read.ts';
import { type LibvirtDomainOptions, writeLibvirtDomain } from '../../descriptors/libvirt/write.ts';
import { domainTypeOf } from '../../host/match.ts';
import type { Loss, Machine } from '../../model.ts';
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
import { asPng } from '../png.ts';
import { consoleOf } from '../serial-log.ts';
import { captureDomain, capturesOf, releaseDomainCapture } from './captures.ts';
import { makeOwnedFolder } from './owned-folder.ts';
import { LibvirtHost, type LibvirtOptions, lines, runVirsh } from './virsh.ts';

export interface LibvirtDriverOptions {
  /** Such as `qemu:///system`. Default: as libvirt chooses. */
  readonly uri?: string | undefined;
  /**
   * A folder of this host in which libvirt's QEMU may make files and sockets: for what guests write to their serial
   * ports, and for captures. Without it there is neither.
   */
  readonly folder?: string | undefined;
  /** Default: `virsh`, by `PATH`. */
  readonly program?: string | undefined;
}

/** libvirt's own words (virDomainState), as `virsh domstate` prints them. */
const states: Readonly<Record<string, MachineStatus['state']>> = {
  running: 'running',
  idle: 'running',
  'in shutdown': 'running',
  paused: 'paused',
  pmsuspended: 'paused',
  'shut off': 'stopped',
  crashed: 'crashed',
};

const POLL_MS = 100;
const PRESS_AGAIN_MS = 10_000;
const RELEASE_MS = 20_000;

/** Machines of libvirt, spoken to through virsh. The id of a machine is the name of its domain, its name the title. */
export class LibvirtDriver implements HypervisorDriver {
  readonly kind = 'libvirt' as const;
  readonly #options: LibvirtDriverOptions;
  readonly #folder: string | undefined;

  constructor(options: LibvirtDriverOptions = {}) {
    this.#options = options;
    this.#folder = options.folder === undefined ? undefined : resolve(options.folder);
  }

  async check(machine: DefinedMachine): Promise<readonly Loss[]> {
    return (await this.#domain('check', machine)).losses;
  }

  async define(id: string, machine: DefinedMachine): Promise<void> {
    const { text } = await this.#domain(id, machine);
    if ((await this.#names()).includes(id)) {
      const { state } = await this.status(id);
      if (state === 'running' || state === 'paused') throw refused(id, 'it runs', 'stop it first');
    }
    if (this.#folder !== undefined) await makeOwnedFolder(join(this.#folder, id));
    // Another UUID would make it another domain.
    const uuid = await this.#virsh('domuuid', '--domain', id).then(
      (found) => found.trim(),
      () => undefined,
    );
    const own =
      /<uuid>/.test(text) || uuid === undefined
        ? text
        : text.replace('</name>', `</name>\n  <uuid>${uuid}</uuid>`);
    await withFile(own, (file) => this.#virsh('define', '--file', file));
  }

  async list(): Promise<readonly string[]> {
    return (await this.#names()).filter((name) => isId(name)).sort();
  }

  async status(id: string): Promise<MachineStatus> {
    const words = (await this.#virsh('domstate', '--reason', '--domain', requireId(id))).trim();
    const [, word = '', reason = ''] = /^(.*?)(?: \((.*)\))?$/.exec(words) ?? [];
    const state = states[word];
    if (state === undefined)
      throw new StoreError('STORE_IO', `libvirt says that ${id} is ${JSON.stringify(words)}`, { where: id });
    if (word === 'shut off' && reason === 'crashed') return { state: 'crashed', reason };
    if (word === 'shut off' && reason === 'shutdown') return { state, reason: 'guest-shutdown' };
    if (word === 'shut off' && reason === 'destroyed') return { state, reason: 'forced' };
    return { state, ...(reason !== '' && { reason }) };
  }

  async start(id: string, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const { state } = await this.status(id);
    if (state === 'running') return;
    await this.#virsh(state === 'paused' ? 'resume' : 'start', '--domain', id);
  }

  async stop(id: string, { graceMs, signal }: StopRequest): Promise<'graceful' | 'forced'> {
    const endMs = Date.now() + graceMs;
    for (let pressAgainMs = 0; ; ) {
      signal?.throwIfAborted();
      const end = endOf(await this.status(id));
      if (end !== undefined) return end;
      if (Date.now() >= endMs) break;
      if (Date.now() >= pressAgainMs) {
        // A guest that stands still hears nothing.
        if ((await this.status(id)).state === 'paused') await this.#virsh('resume', '--domain', id);
        await this.#virsh('shutdown', '--domain', id);
        pressAgainMs = Date.now() + PRESS_AGAIN_MS;
      }
      await delay(POLL_MS, undefined, { signal });
    }
    try {
      await this.#virsh('destroy', '--domain', id);
    } catch (error) {
      // It ended by itself meanwhile.
      const end = endOf(await this.status(id));
      if (end === undefined) throw error;
      return end;
    }
    return 'forced';
  }

  async reset(id: string): Promise<void> {
    await this.#requireRunning(id);
    await this.#virsh('reset', '--domain', id);
  }

  async pause(id: string): Promise<void> {
    const { state } = await this.#requireRunning(id);
    if (state !== 'paused') await this.#virsh('suspend', '--domain', id);
  }

  watch(id: string, onChange: () => void, signal: AbortSignal): void {
    this.#watch(requireId(id), onChange, signal).catch(() => {});
  }

  /** A virsh that ends is started again, after a look: what it missed may have been a change. */
  async #watch(id: string, onChange: () => void, signal: AbortSignal): Promise<void> {
    const { uri, program = 'virsh' } = this.#options;
    const to = uri === undefined ? [] : ['--connect', uri];
    while (!signal.aborted) {
      const args = [...to, 'event', '--domain', id, '--event', 'lifecycle', '--loop'];
      const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'], signal });
      child.stdout.on('data', () => onChange());
      await new Promise<void>((ended) => child.once('error', () => ended()).once('close', () => ended()));
      if (signal.aborted) return;
      onChange();
      await delay(1000, undefined, { signal, ref: false });
    }
  }

  async console(id: string): Promise<MachineConsole> {
    await this.status(id);
    const { logPath } = this.#serial(id);
    return consoleOf(logPath);
  }

  async openConsole(id: string): Promise<Duplex> {
    await this.#requireRunning(id);
    return connected({ path: this.#serial(id).socketPath });
  }

  async openScreen(id: string): Promise<Duplex> {
    await this.#requireRunning(id);
    const address = (await this.#virsh('domdisplay', '--type', 'vnc', '--domain', id)).trim();
    const [, host = '', display = '0'] = /^vnc:\/\/(.*):(\d+)$/.exec(address) ?? [];
    if (host === '') throw refused(id, 'it has no screen by VNC', 'define it with graphics');
    // QEMU counts displays from this port.
    return connected({ host: host.replace(/^\[(.*)\]$/, '$1'), port: 5900 + Number(display) });
  }

  async screenshot(id: string): Promise<Uint8Array> {
    await this.#requireRunning(id);
    const folder = await mkdtemp(join(tmpdir(), 'gantry-screen-'));
    try {
      const file = join(folder, 'screen');
      await this.#virsh('screenshot', '--domain', id, '--file', file);
      return asPng(await readFile(file));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async attachDisk(id: string, disk: BackedDisk, signal?: AbortSignal): Promise<void> {
    const { machine, targets } = await this.#described(id);
    if (targets.has(disk.path ?? '')) return;
    const { text } = await this.#domain(id, {
      ...machine,
      disks: [...machine.disks, { ...disk, bus: disk.bus ?? 'virtio' }],
    });
    const element = (text.match(/<disk [\s\S]*?<\/disk>/g) ?? []).at(-1) ?? '';
    signal?.throwIfAborted();
    const affected = (await this.#isActive(id)) ? ['--live', '--config'] : ['--config'];
    await withFile(element, (file) =>
      this.#virsh('attach-device', '--domain', id, '--file', file, ...affected),
    );
  }

  async detachDisk(id: string, path: string, signal?: AbortSignal): Promise<void> {
    const find = async () => (await this.#described(id)).targets.get(path);
    const target = await find();
    if (target === undefined) return;
    const affected = (await this.#isActive(id)) ? ['--live', '--config'] : ['--config'];
    await this.#virsh('detach-disk', '--domain', id, '--target', target, ...affected);
    // A guest that runs is asked, and lets go of it later.
    const endMs = Date.now() + RELEASE_MS;
    while ((await find()) !== undefined) {
      if (Date.now() >= endMs)
        throw refused(
          id,
          `the guest does not let go of ${path}`,
          'unmount it in the guest, or stop the machine',
        );
      await delay(POLL_MS, undefined, { signal });
    }
  }

  async capture(id: string, request: CaptureRequest): Promise<Capture> {
    const { machine, targets } = await this.#described(id);
    return captureDomain(this, this.#virshOptions, this.#requireFolder(), id, machine, targets, request);
  }

  async captures(id: string): Promise<readonly string[]> {
    await this.status(id);
    return this.#folder === undefined ? [] : capturesOf(join(this.#folder, id));
  }

  async releaseCapture(id: string, captureId: string): Promise<void> {
    await this.status(id);
    await releaseDomainCapture(this.#virshOptions, this.#requireFolder(), id, captureId);
  }

  /** Nothing shows through: `define` refuses such disks. */
  async materialize(id: string, onProgress: (doneBytes: number, totalBytes: number) => void): Promise<void> {
    await this.status(id);
    onProgress(0, 0);
  }

  async undefine(id: string): Promise<void> {
    if (!(await this.#names()).includes(requireId(id))) return;
    if (await this.#isActive(id)) await this.#virsh('destroy', '--domain', id);
    const isTest = /^test:/.test((await this.#virsh('uri')).trim());
    // The test driver knows none of what else may be kept.
    const kept = isTest
      ? []
      : ['--nvram', '--managed-save', '--snapshots-metadata', '--checkpoints-metadata'];
    await this.#virsh('undefine', '--domain', id, ...kept);
    if (this.#folder !== undefined) await rm(join(this.#folder, id), { recursive: true, force: true });
  }

  async close(): Promise<void> {}

  get #virshOptions(): LibvirtOptions {
    const { uri, program } = this.#options;
    return { uri, program };
  }

  #virsh(...args: readonly string[]): Promise<string> {
    return runVirsh(this.#virshOptions, ...args);
  }

  async #names(): Promise<readonly string[]> {
    return lines(await this.#virsh('list', '--all', '--name'));
  }

  async #isActive(id: string): Promise<boolean> {
    const { state } = await this.status(id);
    return state === 'running' || state === 'paused';
  }

  async #requireRunning(id: string): Promise<MachineStatus> {
    const status = await this.status(id);
    if (status.state === 'running' || status.state === 'paused') return status;
    throw refused(id, 'it does not run', 'start it first');
  }

  #requireFolder(): string {
    if (this.#folder !== undefined) return this.#folder;
    throw new ImageError(
      'IMAGE_UNSUPPORTED',
      'a driver of libvirt without a folder has no consoles and captures',
      {
        structure: 'libvirt folder',
        hint: 'give it a folder in which the QEMU of libvirt may make files',
      },
    );
  }

  #serial(id: string): { readonly socketPath: string; readonly logPath: string } {
    const folder = join(this.#requireFolder(), id);
    return { socketPath: join(folder, 'serial'), logPath: join(folder, 'serial.log') };
  }

  /** The machine and the targets of its disks by their paths: of what runs, else of what is defined. */
  async #described(id: string): Promise<{ machine: Machine; targets: ReadonlyMap<string, string> }> {
    const xml = await this.#virsh('dumpxml', '--domain', requireId(id));
    const { facts } = readLibvirtDomain(new TextEncoder().encode(xml), id);
    const targets = (facts.disks ?? []).flatMap(({ path, target }) =>
      path === undefined || target === undefined ? [] : [[path, target] as const],
    );
    return { machine: facts as Machine, targets: new Map(targets) };
  }

  async #domain(id: string, machine: DefinedMachine) {
    const behind = machine.disks.findIndex(({ backing }) => backing !== undefined);
    if (behind >= 0) {
      throw new ImageError(
        'IMAGE_UNSUPPORTED',
        `disks[${behind}]: libvirt gets no disks with an export behind them`,
        {
          structure: `machine disks[${behind}]`,
          hint: 'give it the whole image, or run the machine with QEMU',
        },
      );
    }
    const title = machine.title ?? (machine.name === id ? undefined : machine.name);
    const named = { ...machine, name: requireId(id), ...(title !== undefined && { title }) };
    return writeLibvirtDomain(named, await this.#domainOptions(id, machine));
  }

  async #domainOptions(id: string, { architecture, guestType }: Machine): Promise<LibvirtDomainOptions> {
    const { guests } = await new LibvirtHost(this.#virshOptions).capabilities();
    const guest = guests.find(
      (each) => each.type === (guestType ?? 'hvm') && each.architecture === architecture,
    );
    if (guest === undefined) {
      throw new ImageError(
        'IMAGE_UNSUPPORTED',
        `this libvirt runs no ${guestType ?? 'hvm'} guests for ${architecture}`,
        {
          structure: 'machine architecture',
          hint: 'look at what virsh capabilities lists',
        },
      );
    }
    const type = domainTypeOf(guest);
    const domainType = (['kvm', 'qemu', 'xen', 'test'] as const).find((known) => known === type);
    const isQemu = domainType === 'kvm' || domainType === 'qemu';
    return {
      domainType,
      agent: isQemu,
      serial: isQemu && this.#folder !== undefined ? this.#serial(id) : undefined,
    };
  }
}

/** How a domain ended; undefined for one that did not. */
function endOf({ state, reason }: MachineStatus): 'graceful' | 'forced' | undefined {
  if (state === 'running' || state === 'paused') return undefined;
  return state === 'crashed' || reason === 'forced' ? 'forced' : 'graceful';
}

function isId(name: string): boolean {
  return /^[\w-][\w.-]{0,63}$/.test(name);
}

function requireId(id: string): string {
  if (isId(id)) return id;
  throw new ImageError('IMAGE_OPTION', `${JSON.stringify(id)} is no id of a machine`, {
    structure: 'machine id',
    hint: 'use up to 64 letters, digits, -, _ and ., no . first',
  });
}

function refused(id: string, why: string, hint: string): StoreError {
  return new StoreError('STORE_REFUSED', `${id}: ${why}`, { where: id, hint });
}

async function withFile<Result>(text: string, task: (file: string) => Promise<Result>): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-virsh-'));
  try {
    const file = join(folder, 'element.xml');
    await writeFile(file, text, { mode: 0o600 });
    return await task(file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function connected(
  to: { readonly path: string } | { readonly host: string; readonly port: number },
): Promise<Duplex> {
  const where = 'path' in to ? to.path : `${to.host}:${to.port}`;
  return new Promise((done, failed) => {
    const socket = 'path' in to ? connect(to.path) : connect(to.port, to.host);
    socket.once('connect', () => done(socket));
    socket.once('error', (error) => failed(storeError(error, where)));
  });
}
