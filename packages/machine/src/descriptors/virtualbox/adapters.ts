import { randomBytes } from 'node:crypto';
import type { Losses } from '../../losses.ts';
import type { Nic, NicModel } from '../../model.ts';
import { refused, requireName } from './require.ts';

/** The chipset PIIX3 has eight slots for them. */
const ADAPTER_COUNT_MAX = 8;

/** The range that VirtualBox itself takes addresses from. */
const ADDRESS_PREFIX = '080027';

/** TNetworkAdapter/@MACAddress: twelve digits, the second even: a multicast address is none of a machine. */
const USABLE_ADDRESS = /^[0-9A-F][02468ACE][0-9A-F]{10}$/;

export interface Adapter {
  /** TNetworkAdapterType. */
  readonly type: '82540EM' | 'Am79C973' | 'virtio';
  /** Twelve hexadecimal digits, upper case. */
  readonly address: string;
  readonly network: Nic['network'];
  readonly networkName?: string;
}

const types: Readonly<Record<NicModel, { readonly type: Adapter['type']; readonly isSame: boolean }>> = {
  virtio: { type: 'virtio', isSame: true },
  e1000: { type: '82540EM', isSame: true },
  pcnet: { type: 'Am79C973', isSame: true },
  e1000e: { type: '82540EM', isSame: false },
  rtl8139: { type: '82540EM', isSame: false },
  vmxnet3: { type: '82540EM', isSame: false },
};

/** Those of a machine, the first eight; the Intel PRO/1000 that every guest knows where it is not said which. */
export function adaptersOf(nics: readonly Nic[], losses: Losses): Adapter[] {
  return nics.flatMap((nic, i) => {
    const path = `nics[${i}]`;
    if (i < ADAPTER_COUNT_MAX) return [adapterOf(nic, path, losses)];
    losses.add(path, nic, `VirtualBox has ${ADAPTER_COUNT_MAX} at most`);
    return [];
  });
}

function adapterOf(nic: Nic, path: string, losses: Losses): Adapter {
  const { model = 'e1000', network, networkName } = nic;
  const { type, isSame } = types[model];
  if (!isSame) losses.add(`${path}.model`, model, `VirtualBox has none; it is ${type} here`);
  const address = nic.macAddress?.replaceAll(':', '').toUpperCase();
  const isUsable = address !== undefined && USABLE_ADDRESS.test(address);
  if (!isUsable)
    losses.add(
      `${path}.macAddress`,
      nic.macAddress,
      'VirtualBox takes six pairs of digits, and no multicast',
    );
  if (network === 'named' && networkName === undefined)
    throw refused(`${path}.networkName`, 'it is not said', 'name the NAT network of VirtualBox, or use nat');
  const isNamed = network === 'bridged' || network === 'named' || network === 'isolated';
  if (!isNamed) losses.add(`${path}.networkName`, networkName, `${network} has no name`);
  return {
    type,
    address: isUsable ? address : freshAddress(),
    network,
    ...(isNamed &&
      networkName !== undefined && { networkName: requireName(networkName, `${path}.networkName`) }),
  };
}

function freshAddress(): string {
  return ADDRESS_PREFIX + randomBytes(3).toString('hex').toUpperCase();
}
