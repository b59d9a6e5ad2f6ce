import type { GuestFiles } from '../files/guest-files.ts';
import { CONFIGURATION_FILE_COUNT_MAX } from '../limits.ts';
import type { NetworkBinding } from '../report.ts';

const MAC = '(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}';

interface Place {
  readonly folder: string;
  readonly files: RegExp;
  readonly patterns: readonly (readonly [NetworkBinding['kind'], RegExp])[];
}

/** Where systems bind the network to one card, by its address or by the name that its slot gives it. */
const places: readonly Place[] = [
  {
    folder: '/etc/udev/rules.d',
    files: /net.*\.rules$/,
    patterns: [['mac', new RegExp(`ATTR\\{address\\}=="(${MAC})"`, 'g')]],
  },
  {
    folder: '/etc/sysconfig/network-scripts',
    files: /^ifcfg-(?!lo$)/,
    patterns: [
      ['mac', new RegExp(`^HWADDR="?(${MAC})`, 'gm')],
      ['name', /^DEVICE="?([A-Za-z0-9_.-]{1,15})/gm],
    ],
  },
  {
    folder: '/etc/NetworkManager/system-connections',
    files: /./,
    patterns: [
      ['mac', new RegExp(`^mac-address=(${MAC})`, 'gm')],
      ['name', /^interface-name=([A-Za-z0-9_.-]{1,15})/gm],
    ],
  },
  {
    folder: '/etc/netplan',
    files: /\.ya?ml$/,
    patterns: [
      ['mac', new RegExp(`^\\s+macaddress:\\s*["']?(${MAC})`, 'gm')],
      ['name', /^\s+(en[opsx][a-z0-9]{1,12}|eth\d{1,3}):\s*$/gm],
    ],
  },
  {
    folder: '/etc/systemd/network',
    files: /\.(?:network|link)$/,
    patterns: [
      ['mac', new RegExp(`^(?:Permanent)?MACAddress=(${MAC})`, 'gm')],
      ['name', /^Name=([A-Za-z0-9_.-]{1,15})\s*$/gm],
    ],
  },
  {
    folder: '/etc/network',
    files: /^interfaces$/,
    patterns: [
      ['mac', new RegExp(`^\\s*hwaddress\\s+(?:ether\\s+)?(${MAC})`, 'gm')],
      ['name', /^\s*iface\s+((?!lo\b)[A-Za-z0-9_.-]{1,15})\s/gm],
    ],
  },
  {
    folder: '/etc/network/interfaces.d',
    files: /./,
    patterns: [['name', /^\s*iface\s+((?!lo\b)[A-Za-z0-9_.-]{1,15})\s/gm]],
  },
];

const BINDING_COUNT_MAX = 64;

/** Configuration that holds for one card only: another hypervisor gives another address, and often another name. */
export async function networkBindings(files: GuestFiles): Promise<NetworkBinding[]> {
  const found: NetworkBinding[] = [];
  for (const { folder, files: pattern, patterns } of places) {
    const names = (await files.names(folder)).filter((name) => pattern.test(name));
    for (const name of names.slice(0, CONFIGURATION_FILE_COUNT_MAX)) {
      const file = `${folder}/${name}`;
      const text = await files.text(file);
      for (const [kind, expression] of patterns) {
        for (const [, value = ''] of text?.matchAll(expression) ?? []) {
          if (found.length >= BINDING_COUNT_MAX) return found;
          found.push({ file, kind, value });
        }
      }
    }
  }
  return found;
}
