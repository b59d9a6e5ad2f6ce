import {
  createDiskFiles,
  domainTypeOf,
  type Graphics,
  LibvirtHost,
  type Machine,
  type Nic,
  planDiskFiles,
  verifyChecksums,
  writeLibvirtDomain,
} from '@gantry/machine';
import type { Context } from '../../context.ts';
import { CommandError, usageError } from '../../errors/command-error.ts';
import { printable } from '../../output/printable.ts';
import { parseCount } from '../machine/grammar.ts';
import { loadMachine, type MachineOptions } from '../machine/load.ts';
import { noteLosses } from '../machine/losses.ts';
import { parseMac } from '../machine/networks.ts';

interface VirtImageOptions extends MachineOptions {
  readonly connect?: string;
  readonly memory?: string;
  readonly uuid?: string;
  readonly noapic?: boolean;
  readonly noacpi?: boolean;
  readonly bridge?: readonly string[];
  readonly mac?: readonly string[];
  readonly graphics?: string;
  readonly vncport?: string;
  readonly vnclisten?: string;
  readonly keymap?: string;
  readonly sdl?: boolean;
  readonly replace?: boolean;
  readonly noreboot?: boolean;
  readonly skipChecksum?: boolean;
  readonly print?: boolean;
  readonly printXml?: boolean;
  readonly quiet?: boolean;
}

export async function run(
  context: Context,
  [file]: readonly [string],
  options: VirtImageOptions,
): Promise<undefined> {
  const { signal, output } = context;
  const host = new LibvirtHost({ uri: options.connect, signal });
  const isPrinting = options.print === true || options.printXml === true;
  const loaded = await loadMachine(context, file, machineOptions(options), () => host.capabilities());
  const asked = changed(loaded.machine, options);
  const plan = await planDiskFiles(asked, { folder: loaded.folder, anyPath: options.anyPath, signal });
  const { guest } = loaded;
  const domainType = guest === undefined ? undefined : domainTypeOf(guest);
  const { text, losses } = writeLibvirtDomain(plan.machine, {
    domainType: domainType === 'qemu' || domainType === 'xen' || domainType === 'test' ? domainType : 'kvm',
  });
  const say = (words: string) => {
    if (options.quiet !== true) context.progress.note(words);
  };
  for (const warning of plan.warnings) say(`warning: ${warning}`);
  if (options.quiet !== true)
    noteLosses(
      context,
      losses.filter(({ field }) => !/^foreign|^disks/.test(field)),
      'the domain',
    );
  await requireNetworks(host, plan.machine.nics);
  if (isPrinting) {
    await output.record({ xml: text }, [text.trimEnd()]);
    return;
  }
  const name = nameIn(text);
  const isThere = (await host.domainNames()).includes(name);
  if (isThere && options.replace !== true) {
    throw new CommandError('CONFLICT', `there is a machine ${name} already`, {
      where: options.connect,
      hint: 'give another --name, or say --replace to end and remove it first',
    });
  }
  if (options.skipChecksum !== true) await verifyChecksums(plan, signal);
  for (const path of await createDiskFiles(plan, signal)) say(`made ${path}`);
  const start = options.noreboot !== true;
  await host.define(name, text, { start, replace: isThere });
  await output.record({ name, started: start }, [
    `${printable(name)}: ${start ? 'defined and started' : 'defined'}`,
  ]);
}

/** The name as libvirt has it, which is not always that of the descriptor. */
function nameIn(text: string): string {
  const [, name = ''] = /<name>([^<]*)<\/name>/.exec(text) ?? [];
  return name.replaceAll(/&(amp|lt|gt|quot);/g, (_, word: string) => entities[word] ?? '');
}

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"' };

function machineOptions(options: VirtImageOptions): MachineOptions {
  const { memory, bridge = [], network = [], ram } = options;
  if (bridge.length > 0 && network.length > 0)
    throw usageError('--bridge and --network are one or the other');
  const wanted = ram ?? (memory === undefined ? undefined : parseCount(memory.split(',')[0] ?? ''));
  return {
    ...options,
    ...(wanted !== undefined && { ram: wanted }),
    network: bridge.length > 0 ? bridge.map((name) => `bridge:${name}`) : network,
    // Said by --graphics and its like, below.
    vnc: false,
    nographics: false,
  };
}

function changed(machine: Machine, options: VirtImageOptions): Machine {
  const { uuid, noapic, noacpi } = options;
  if (uuid !== undefined && !/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(uuid))
    throw usageError(`${JSON.stringify(uuid)} is no UUID`);
  const { graphics: screen, ...rest } = machine;
  const graphics = screenOf(screen, options);
  const isSwitched = noapic === true || noacpi === true;
  return {
    ...rest,
    nics: nicsOf(machine.nics, options),
    ...(graphics !== undefined && { graphics }),
    ...(uuid !== undefined && { uuid: uuid.toLowerCase() }),
    ...(isSwitched && {
      features: { ...machine.features, ...(noapic && { apic: false }), ...(noacpi && { acpi: false }) },
    }),
  };
}

/** As many as there are interfaces, networks or addresses; those without a network have the usual one. */
function nicsOf(nics: readonly Nic[], { mac = [], connect }: VirtImageOptions): Nic[] {
  const isSession = connect?.includes('/session') ?? process.getuid?.() !== 0;
  const usual: Nic = isSession ? { network: 'nat' } : { network: 'named', networkName: 'default' };
  const padded = Array.from(
    { length: Math.max(nics.length, mac.length) },
    (_, index) => nics[index] ?? usual,
  );
  return padded.map((nic, index) => {
    const address = mac[index];
    const placed =
      nic.network === 'nat' && nic.model === undefined && nic.macAddress === undefined ? usual : nic;
    return address === undefined || address.toUpperCase() === 'RANDOM'
      ? placed
      : { ...placed, macAddress: parseMac(address) };
  });
}

const kinds: Readonly<Record<string, Graphics['kind']>> = { vnc: 'vnc', spice: 'spice', sdl: 'window' };

/** The screen that is said, else VNC where the descriptor has one. Throws USAGE for more than one. */
function screenOf(screen: Graphics | undefined, options: VirtImageOptions): Graphics | undefined {
  const { graphics, vnc, sdl, nographics, vncport, vnclisten, keymap } = options;
  const said = [graphics, vnc, sdl, nographics].filter((each) => each !== undefined && each !== false);
  if (said.length > 1)
    throw usageError(
      'there is one screen',
      'leave all but one of --graphics, --vnc, --sdl and --nographics away',
    );
  const [word = 'vnc', ...parts] = (graphics ?? (vnc ? 'vnc' : sdl ? 'sdl' : nographics ? 'none' : '')).split(
    ',',
  );
  const values = new Map(parts.map((part) => [part.split('=')[0] ?? '', part.slice(part.indexOf('=') + 1)]));
  const unknown = [...values.keys()].find((name) => !['port', 'listen', 'keymap'].includes(name));
  if (unknown !== undefined)
    throw usageError(
      `--graphics: ${JSON.stringify(unknown)} is not known`,
      'it takes port, listen and keymap',
    );
  if (word === 'none' || (word === '' && screen === undefined)) return undefined;
  const kind = word === '' ? screen?.kind : kinds[word];
  if (kind === undefined)
    throw usageError(`--graphics: there is no screen ${JSON.stringify(word)}`, 'use vnc, spice, sdl or none');
  const port = values.get('port') ?? vncport;
  const listenAddress = values.get('listen') ?? vnclisten;
  const keys = values.get('keymap') ?? keymap;
  return {
    kind,
    ...(port !== undefined && port !== '-1' && { port: parseCount(port) }),
    ...(listenAddress !== undefined && { listenAddress }),
    ...(keys !== undefined && { keymap: keys }),
  };
}

async function requireNetworks(host: LibvirtHost, nics: readonly Nic[]): Promise<void> {
  const wanted = nics.flatMap(({ network, networkName }) => (network === 'named' ? [networkName ?? ''] : []));
  if (wanted.length === 0) return;
  const known = await host.networkNames();
  const unknown = wanted.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const hint =
    known.length === 0
      ? 'this host has none: use --network user'
      : `it has ${known.join(', ')}; --network user needs none`;
  throw new CommandError('NOT_FOUND', `this host has no network ${JSON.stringify(unknown)}`, { hint });
}
