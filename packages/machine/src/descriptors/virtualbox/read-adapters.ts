import { defined } from '../../defined.ts';
import type { NetworkKind, Nic, NicModel } from '../../model.ts';
import { ownValue } from '../../own-value.ts';
import { anyChildren, attributeOf, type XmlElement } from '../xml/tree.ts';
import type { Warnings } from '../xml/warnings.ts';

/** TNetworkAdapterType. */
const models: Readonly<Record<string, NicModel>> = {
  Am79C970A: 'pcnet',
  Am79C973: 'pcnet',
  Am79C960: 'pcnet',
  '82540EM': 'e1000',
  '82543GC': 'e1000',
  '82545EM': 'e1000',
  virtio: 'virtio',
};

const networks: Readonly<Record<string, NetworkKind>> = {
  NAT: 'nat',
  BridgedInterface: 'bridged',
  NATNetwork: 'named',
  InternalNetwork: 'isolated',
  HostOnlyInterface: 'isolated',
  HostOnlyNetwork: 'isolated',
};

/** Elements of an adapter that are no network of it. */
const others: readonly string[] = ['DisabledModes', 'Property'];

/** The adapters that are switched on, by their slots. `cableByDefault`: what no attribute `cable` means. */
export function readAdapters(network: XmlElement, cableByDefault: boolean, warnings: Warnings): Nic[] {
  return anyChildren(network, 'Adapter')
    .filter((adapter) => attributeOf(adapter, 'enabled') === 'true')
    .sort((a, b) => slotOf(a) - slotOf(b))
    .map((adapter) => readAdapter(adapter, cableByDefault, warnings));
}

function slotOf(adapter: XmlElement): number {
  return Number(attributeOf(adapter, 'slot') ?? 0);
}

function readAdapter(adapter: XmlElement, cableByDefault: boolean, warnings: Warnings): Nic {
  const type = attributeOf(adapter, 'type');
  const model = ownValue(models, type);
  if (type !== undefined && model === undefined)
    warnings.add(adapter, `the adapter type ${type} is not in the machine`);
  const mode = adapter.children.find(({ name }) => !others.includes(name));
  const isPlugged = (attributeOf(adapter, 'cable') ?? String(cableByDefault)) === 'true';
  const kind = ownValue(networks, mode?.name);
  if (mode !== undefined && kind === undefined)
    warnings.add(mode, `a network of the kind ${mode.name} is read as one without a cable`);
  if (mode?.name.startsWith('HostOnly'))
    warnings.add(mode, 'a network with the host only is read as an isolated one');
  const network = isPlugged ? (kind ?? 'unplugged') : 'unplugged';
  const isNamed = network === 'bridged' || network === 'named' || network === 'isolated';
  return defined({
    network: network as NetworkKind,
    networkName: isNamed ? attributeOf(mode, 'name') : undefined,
    model,
    macAddress: macOf(attributeOf(adapter, 'MACAddress')),
  });
}

function macOf(digits: string | undefined): string | undefined {
  if (digits === undefined || !/^[0-9A-Fa-f]{12}$/.test(digits)) return undefined;
  return (digits.toLowerCase().match(/../g) ?? []).join(':');
}
