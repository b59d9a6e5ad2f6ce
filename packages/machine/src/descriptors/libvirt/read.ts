import { ImageError } from '@gantry/disk';
import { isArchitecture } from '../../architectures.ts';
import { defined } from '../../defined.ts';
import type {
  DescriptorReading,
  DirectKernel,
  DiskBus,
  Graphics,
  MachineDisk,
  MachineFacts,
  MachineFeatures,
  Nic,
  NicModel,
} from '../../model.ts';
import { nicModels } from '../../nic-models.ts';
import { ownValue } from '../../own-value.ts';
import { atPlace, readXml } from '../xml/read.ts';
import { attributeOf, childrenNamed, elementAt, textAt, type XmlElement } from '../xml/tree.ts';
import { Warnings } from '../xml/warnings.ts';
import { driverTypes, featureNames, libvirtBuses } from './words.ts';

const STRUCTURE = 'domain XML';

/** Bytes of libvirt's units; without one it is KiB. */
const units: Readonly<Record<string, number>> = {
  b: 1,
  bytes: 1,
  kb: 1000,
  k: 1024,
  kib: 1024,
  mb: 1000 ** 2,
  m: 1024 ** 2,
  mib: 1024 ** 2,
  gb: 1000 ** 3,
  g: 1024 ** 3,
  gib: 1024 ** 3,
  tb: 1000 ** 4,
  t: 1024 ** 4,
  tib: 1024 ** 4,
};

/** Devices of which the model says nothing, and that a hypervisor adds by itself where they are needed. */
const ordinary: readonly string[] = [
  'emulator',
  'controller',
  'input',
  'serial',
  'console',
  'channel',
  'parallel',
  'video',
  'memballoon',
  'rng',
  'sound',
  'audio',
  'watchdog',
  'panic',
  'hub',
  'redirdev',
  'smartcard',
  'iommu',
  'vsock',
];
const held: readonly string[] = ['disk', 'interface', 'graphics', 'tpm'];
const graphicsKinds = { vnc: 'vnc', spice: 'spice', rdp: 'rdp', sdl: 'window' } as const;

/**
 * Reads domain XML, such as `virsh dumpxml` prints. What the model has no place for and a guest could miss is a
 * warning. Throws IMAGE_MALFORMED with line and column, IMAGE_LIMIT, IMAGE_UNSUPPORTED for a domain that is no
 * machine of its own (a container) or of an architecture that is not known.
 */
export function readLibvirtDomain(bytes: Uint8Array, file = 'domain'): DescriptorReading {
  const root = readXml(bytes, { file, structure: STRUCTURE });
  const domain =
    root.name === 'domstatus' || root.name === 'domainsnapshot' ? elementAt(root, 'domain') : root;
  if (domain?.name !== 'domain')
    throw refused(
      'IMAGE_MALFORMED',
      atPlace(file, root.place, `the root is <${root.name}>, and not <domain>`),
    );
  return new DomainReader(domain, file).read();
}

function refused(code: 'IMAGE_MALFORMED' | 'IMAGE_UNSUPPORTED', message: string): ImageError {
  const hint = code === 'IMAGE_MALFORMED' ? 'save what virsh dumpxml prints' : 'describe another machine';
  return new ImageError(code, message, { structure: STRUCTURE, hint });
}

class DomainReader {
  readonly #domain: XmlElement;
  readonly #file: string;
  readonly #warnings: Warnings;

  constructor(domain: XmlElement, file: string) {
    this.#domain = domain;
    this.#file = file;
    this.#warnings = new Warnings(file);
  }

  read(): DescriptorReading {
    const domain = this.#domain;
    const guestType = this.#guestType();
    const devices = elementAt(domain, 'devices');
    const offset = attributeOf(elementAt(domain, 'clock'), 'offset');
    const facts: MachineFacts = defined({
      name: textAt(domain, 'name'),
      uuid: textAt(domain, 'uuid')?.toLowerCase(),
      title: textAt(domain, 'title'),
      description: textAt(domain, 'description'),
      architecture: this.#architecture(),
      ...(guestType === 'xen' ? {} : this.#firmware()),
      tpm: devices && childrenNamed(devices, 'tpm').length > 0 ? true : undefined,
      cpuCount: this.#cpuCount(),
      memoryBytes: this.#memoryBytes(),
      clock:
        offset === undefined ? undefined : offset === 'localtime' ? ('local' as const) : ('utc' as const),
      guestType: guestType === 'xen' ? guestType : undefined,
      features: guestType === 'xen' ? undefined : this.#features(),
      kernel: this.#kernel(),
      bootloader: loaderName(textAt(domain, 'bootloader')),
      disks: devices === undefined ? [] : this.#disks(childrenNamed(devices, 'disk')),
      nics: devices === undefined ? [] : childrenNamed(devices, 'interface').map((nic) => this.#nic(nic)),
      graphics: devices && this.#graphics(childrenNamed(devices, 'graphics')),
    });
    for (const { name, place, namespace } of devices?.children ?? []) {
      if (namespace === domain.namespace && !ordinary.includes(name) && !held.includes(name))
        this.#warnings.add({ place }, `the device <${name}> is not in the machine`);
    }
    for (const { name, namespace, place } of domain.children) {
      if (namespace !== domain.namespace)
        this.#warnings.add({ place }, `<${name}> of ${namespace} is not in the machine`);
    }
    return { facts, warnings: this.#warnings.all };
  }

  #guestType(): 'hvm' | 'xen' {
    const type = elementAt(this.#domain, 'os', 'type');
    if (type === undefined && elementAt(this.#domain, 'bootloader') !== undefined) return 'xen';
    const text = type?.text.trim();
    if (text === 'hvm') return 'hvm';
    if (text === 'xen' || text === 'linux') return 'xen';
    const place = type?.place ?? this.#domain.place;
    throw refused(
      'IMAGE_UNSUPPORTED',
      atPlace(this.#file, place, `a guest of the type ${JSON.stringify(text ?? '')} is no machine`),
    );
  }

  #architecture(): MachineFacts['architecture'] {
    const type = elementAt(this.#domain, 'os', 'type');
    const name = attributeOf(type, 'arch');
    if (name === undefined || isArchitecture(name)) return name;
    throw refused('IMAGE_UNSUPPORTED', atPlace(this.#file, type?.place, `no machine is ${name} here`));
  }

  #firmware(): Pick<MachineFacts, 'firmware' | 'secureBoot'> {
    const os = elementAt(this.#domain, 'os');
    const loader = os && elementAt(os, 'loader');
    const isEfi = attributeOf(os, 'firmware') === 'efi' || attributeOf(loader, 'type') === 'pflash';
    if (!isEfi) return { firmware: 'bios' };
    const features =
      os === undefined ? [] : childrenNamed(os, 'firmware').flatMap((list) => childrenNamed(list, 'feature'));
    const secure = features.find((feature) => attributeOf(feature, 'name') === 'secure-boot');
    const word = attributeOf(secure, 'enabled') ?? attributeOf(loader, 'secure');
    return word === undefined ? { firmware: 'uefi' } : { firmware: 'uefi', secureBoot: word === 'yes' };
  }

  #features(): MachineFeatures {
    const features = elementAt(this.#domain, 'features');
    const has = (name: string) => {
      const found = features && elementAt(features, name);
      return found !== undefined && attributeOf(found, 'state') !== 'off';
    };
    const arch = attributeOf(elementAt(this.#domain, 'os', 'type'), 'arch');
    const isX86 = arch === undefined || arch === 'x86_64' || arch === 'i686';
    // Without the element there is no ACPI and no APIC; PAE is then as the processor has it.
    const entries = featureNames
      .filter((name) => (name === 'pae' ? has(name) : name === 'acpi' ? isX86 || arch === 'aarch64' : isX86))
      .map((name) => [name, has(name)]);
    return Object.fromEntries(entries);
  }

  #kernel(): DirectKernel | undefined {
    const path = textAt(this.#domain, 'os', 'kernel');
    if (path === undefined) return undefined;
    const initrdPath = textAt(this.#domain, 'os', 'initrd');
    return defined({ path, initrdPath, commandLine: textAt(this.#domain, 'os', 'cmdline') });
  }

  #cpuCount(): number | undefined {
    const vcpu = elementAt(this.#domain, 'vcpu');
    if (vcpu === undefined) return undefined;
    return this.#wholeNumber(vcpu, attributeOf(vcpu, 'current') ?? vcpu.text);
  }

  #memoryBytes(): number | undefined {
    const memory = elementAt(this.#domain, 'memory');
    if (memory === undefined) return undefined;
    const unit = attributeOf(memory, 'unit') ?? 'KiB';
    const factor = ownValue(units, unit.toLowerCase());
    const bytes = factor === undefined ? Number.NaN : this.#wholeNumber(memory, memory.text) * factor;
    if (Number.isSafeInteger(bytes)) return bytes;
    throw refused(
      'IMAGE_MALFORMED',
      atPlace(this.#file, memory.place, `there is no such memory: ${memory.text.trim()} ${unit}`),
    );
  }

  #wholeNumber({ name, place }: XmlElement, text: string): number {
    const value = /^\d{1,15}$/.test(text.trim()) ? Number(text) : 0;
    if (value > 0) return value;
    throw refused(
      'IMAGE_MALFORMED',
      atPlace(this.#file, place, `<${name}> is no whole number above 0: ${JSON.stringify(text)}`),
    );
  }

  #disks(elements: readonly XmlElement[]): MachineDisk[] {
    const disks = elements.flatMap((element) => this.#disk(element));
    if (disks.some(({ bootOrder }) => bootOrder !== undefined)) return disks;
    const os = elementAt(this.#domain, 'os');
    if (os === undefined || elementAt(os, 'kernel') !== undefined) return disks;
    const wanted = childrenNamed(os, 'boot').map((boot) => attributeOf(boot, 'dev'));
    const first = wanted
      .map((dev) => disks.findIndex(({ device }) => device === bootDevices[dev ?? '']))
      .filter((index) => index >= 0);
    return disks.map((disk, index) =>
      first.includes(index) ? { ...disk, bootOrder: first.indexOf(index) + 1 } : disk,
    );
  }

  #disk(element: XmlElement): MachineDisk[] {
    const device = attributeOf(element, 'device') ?? 'disk';
    if (device !== 'disk' && device !== 'cdrom' && device !== 'floppy') {
      this.#warnings.add(element, `a disk of the kind ${device} is not in the machine`);
      return [];
    }
    const source = elementAt(element, 'source');
    const type = attributeOf(element, 'type') ?? 'file';
    const path =
      type === 'file'
        ? attributeOf(source, 'file')
        : type === 'block'
          ? attributeOf(source, 'dev')
          : undefined;
    if (source !== undefined && path === undefined)
      this.#warnings.add(
        element,
        `what the disk shows is no file of this host (${type}), and not in the machine`,
      );
    const target = elementAt(element, 'target');
    const isTransient = elementAt(element, 'transient') !== undefined;
    return [
      defined({
        role: isTransient ? ('scratch' as const) : ('system' as const),
        device: device as MachineDisk['device'],
        path,
        format: this.#format(elementAt(element, 'driver'), device),
        bus: busNamed(attributeOf(target, 'bus')),
        target: attributeOf(target, 'dev'),
        bootOrder: orderOf(elementAt(element, 'boot')),
        readOnly: device === 'cdrom' || elementAt(element, 'readonly') !== undefined ? true : undefined,
      }),
    ];
  }

  #format(driver: XmlElement | undefined, device: string): string | undefined {
    const type = attributeOf(driver, 'type');
    if (type === undefined) return undefined;
    if (type === 'raw' && device === 'cdrom') return 'iso';
    const known = Object.entries(driverTypes).find(([, word]) => word === type)?.[0];
    if (known === undefined && driver !== undefined)
      this.#warnings.add(driver, `the format ${type} is not in the machine`);
    return known;
  }

  #nic(element: XmlElement): Nic {
    const type = attributeOf(element, 'type');
    const source = elementAt(element, 'source');
    const isDown = attributeOf(elementAt(element, 'link'), 'state') === 'down';
    const name = attributeOf(source, type === 'bridge' ? 'bridge' : type === 'direct' ? 'dev' : 'network');
    if (type !== 'user' && type !== 'network' && type !== 'bridge' && type !== 'direct')
      this.#warnings.add(element, `a network of the kind ${type ?? 'unknown'} is read as user networking`);
    const isBridged = type === 'bridge' || type === 'direct';
    const network = isDown ? 'unplugged' : type === 'network' ? 'named' : isBridged ? 'bridged' : 'nat';
    const model = attributeOf(elementAt(element, 'model'), 'type');
    const isKnown = (word: string): word is NicModel => nicModels.some((known) => known === word);
    if (model !== undefined && !isKnown(model))
      this.#warnings.add(element, `the model ${model} of a NIC is not in the machine`);
    return defined({
      network: network as Nic['network'],
      networkName: network === 'named' || network === 'bridged' ? name : undefined,
      macAddress: attributeOf(elementAt(element, 'mac'), 'address')?.toLowerCase(),
      model: model !== undefined && isKnown(model) ? model : undefined,
    });
  }

  #graphics(elements: readonly XmlElement[]): Graphics | undefined {
    const [element, second] = elements.filter((each) =>
      Object.hasOwn(graphicsKinds, attributeOf(each, 'type') ?? ''),
    );
    if (second !== undefined) this.#warnings.add(second, 'a second screen is not in the machine');
    if (element === undefined) {
      const [other] = elements;
      if (other !== undefined) this.#warnings.add(other, 'a screen of this kind is not in the machine');
      return undefined;
    }
    const port = Number(attributeOf(element, 'port') ?? '-1');
    return defined({
      kind: graphicsKinds[attributeOf(element, 'type') as keyof typeof graphicsKinds],
      listenAddress: attributeOf(element, 'listen') ?? attributeOf(elementAt(element, 'listen'), 'address'),
      port:
        attributeOf(element, 'autoport') !== 'yes' && Number.isSafeInteger(port) && port > 0
          ? port
          : undefined,
      keymap: attributeOf(element, 'keymap'),
    });
  }
}

const bootDevices: Readonly<Record<string, MachineDisk['device']>> = {
  hd: 'disk',
  cdrom: 'cdrom',
  fd: 'floppy',
};

function loaderName(path: string | undefined): string | undefined {
  return path === '/usr/bin/pygrub' || path === '/usr/lib/xen/bin/pygrub' ? 'pygrub' : path;
}

function busNamed(word: string | undefined): DiskBus | undefined {
  if (word === 'nvme') return word;
  return (Object.keys(libvirtBuses) as (keyof typeof libvirtBuses)[]).find(
    (bus) => libvirtBuses[bus] === word,
  );
}

function orderOf(boot: XmlElement | undefined): number | undefined {
  const order = Number(attributeOf(boot, 'order') ?? '0');
  return Number.isSafeInteger(order) && order > 0 ? order : undefined;
}
