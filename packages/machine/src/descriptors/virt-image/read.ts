import { ImageError } from '@gantry/disk';
import { defined } from '../../defined.ts';
import { atPlace, readXml } from '../xml/read.ts';
import {
  attributeOf,
  childrenNamed,
  elementAt,
  textAt,
  type XmlElement,
  type XmlPlace,
} from '../xml/tree.ts';
import { Warnings } from '../xml/warnings.ts';
import {
  diskFormats,
  type VirtImage,
  type VirtImageBoot,
  type VirtImageBootType,
  type VirtImageDisk,
} from './image.ts';

const STRUCTURE = 'virt-image descriptor';

export interface VirtImageReading {
  readonly image: VirtImage;
  /** One sentence each, with file, line and column. */
  readonly warnings: readonly string[];
}

/**
 * Reads a descriptor as the tools that made the format did: what they ignored is ignored, what they refused is
 * IMAGE_MALFORMED with line and column. Names of files stay as written. `file` is what messages call it.
 */
export function readVirtImage(bytes: Uint8Array, file = 'descriptor'): VirtImageReading {
  return new VirtImageReader(readXml(bytes, { file, structure: STRUCTURE }), file).read();
}

class VirtImageReader {
  readonly #root: XmlElement;
  readonly #file: string;
  readonly #warnings: Warnings;

  constructor(root: XmlElement, file: string) {
    this.#root = root;
    this.#file = file;
    this.#warnings = new Warnings(file);
  }

  read(): VirtImageReading {
    const root = this.#root;
    if (root.name !== 'image' || root.namespace !== '') {
      const shown =
        root.namespace === '' ? `<${root.name}>` : `<${root.name}> of the namespace ${root.namespace}`;
      throw this.#refused(root.place, `the root is ${shown}, and not <image> without a namespace`);
    }
    const domains = childrenNamed(root, 'domain');
    const [domain] = domains;
    if (domain === undefined || domains.length > 1)
      throw this.#refused(
        domains[1]?.place ?? root.place,
        `there has to be one <domain>, and there are ${domains.length}`,
      );
    const disks = this.#disks(
      childrenNamed(root, 'storage').flatMap((storage) => childrenNamed(storage, 'disk')),
    );
    const name = elementAt(root, 'name');
    const devices = elementAt(domain, 'devices');
    const image: VirtImage = defined({
      name: textAt(root, 'name'),
      version: attributeOf(name, 'version'),
      release: attributeOf(name, 'release'),
      label: textAt(root, 'label'),
      description: textAt(root, 'description'),
      boots: childrenNamed(domain, 'boot').map((boot) => this.#boot(boot, disks)),
      cpuCount: this.#count(devices && elementAt(devices, 'vcpu')),
      memoryKib: this.#count(devices && elementAt(devices, 'memory')),
      interfaceCount: devices === undefined ? 0 : childrenNamed(devices, 'interface').length,
      hasGraphics: devices !== undefined && elementAt(devices, 'graphics') !== undefined,
      disks: [...disks.values()],
    });
    return { image, warnings: this.#warnings.all };
  }

  #boot(element: XmlElement, disks: ReadonlyMap<string, VirtImageDisk>): VirtImageBoot {
    const type = attributeOf(element, 'type');
    if (!isBootType(type)) {
      const place = element.attributes.get('type')?.place ?? element.place;
      throw this.#refused(place, `the type of a <boot> is xen or hvm, and not ${JSON.stringify(type ?? '')}`);
    }
    const arch = textAt(element, 'guest', 'arch');
    if (arch === undefined) throw this.#refused(element.place, 'the <boot> says no <guest><arch>');
    const architecture = normalArchitecture(arch);
    const os = elementAt(element, 'os');
    const loader = os && elementAt(os, 'loader');
    const drives = childrenNamed(element, 'drive').map((drive) => {
      const disk = attributeOf(drive, 'disk') ?? '';
      if (!disks.has(disk)) {
        const place = drive.attributes.get('disk')?.place ?? drive.place;
        throw this.#refused(
          place,
          `the drive is of the disk ${JSON.stringify(disk)}, and <storage> has none of this id`,
        );
      }
      return defined({ disk, target: attributeOf(drive, 'target'), place: drive.place });
    });
    return defined({
      type,
      architecture,
      features: this.#features(element, `${type} boot for ${architecture}`),
      loader: this.#loaderName(loader),
      bootDevice: this.#bootDevice(loader),
      kernel: os && textAt(os, 'kernel'),
      initrd: os && textAt(os, 'initrd'),
      commandLine: os && textAt(os, 'cmdline'),
      drives,
      place: element.place,
    });
  }

  #features(boot: XmlElement, called: string): Record<string, 'on' | 'off'> {
    const found = childrenNamed(boot, 'guest').flatMap((guest) => childrenNamed(guest, 'features'));
    const [features, second] = found;
    if (second !== undefined) throw this.#refused(second.place, `the ${called} has a second <features>`);
    const states = (features?.children ?? []).map((feature): [string, 'on' | 'off'] => {
      const state = attributeOf(feature, 'state') ?? 'on';
      if (state === 'on' || state === 'off') return [feature.name, state];
      const place = feature.attributes.get('state')?.place ?? feature.place;
      throw this.#refused(
        place,
        `the state of <${feature.name}> is on or off, and not ${JSON.stringify(state)}`,
      );
    });
    return Object.fromEntries(states);
  }

  #loaderName(loader: XmlElement | undefined): 'pygrub' | undefined {
    if (loader === undefined || loader.text === '') return undefined;
    if (loader.text === 'pygrub') return 'pygrub';
    throw this.#refused(
      loader.place,
      `the loader is pygrub or left empty, and not ${JSON.stringify(loader.text)}`,
    );
  }

  #bootDevice(loader: XmlElement | undefined): 'hd' | 'cdrom' | undefined {
    const device = attributeOf(loader, 'dev');
    if (device === undefined || device === 'hd' || device === 'cdrom') return device;
    const place = loader?.attributes.get('dev')?.place;
    throw this.#refused(place, `the device of a <loader> is hd or cdrom, and not ${JSON.stringify(device)}`);
  }

  /** A whole number as Python's `int` reads it, above 0. */
  #count(element: XmlElement | undefined): number | undefined {
    if (element === undefined || element.text === '') return undefined;
    const text = element.text.trim();
    const value = /^\+?\d+(?:_\d+)*$/.test(text) ? Number(text.replaceAll('_', '')) : Number.NaN;
    if (Number.isSafeInteger(value) && value > 0) return value;
    throw this.#refused(
      element.place,
      `<${element.name}> is no whole number above 0: ${JSON.stringify(text)}`,
    );
  }

  #disks(elements: readonly XmlElement[]): Map<string, VirtImageDisk> {
    const disks = new Map<string, VirtImageDisk>();
    for (const element of elements) {
      const disk = this.#disk(element, disks.size);
      if (disks.has(disk.id))
        throw this.#refused(element.place, `the disk ${JSON.stringify(disk.file)} is defined twice`);
      disks.set(disk.id, disk);
    }
    return disks;
  }

  #disk(element: XmlElement, before: number): VirtImageDisk {
    const named = attributeOf(element, 'file');
    if (named === undefined) {
      const taken = `disk${before + 1}.img`;
      this.#warnings.add(
        element,
        `the disk names no file: ${taken} is taken, and disk${before}.img for its id`,
      );
    }
    const format = attributeOf(element, 'format') ?? 'raw';
    if (!diskFormats.includes(format)) {
      const place = element.attributes.get('format')?.place;
      throw this.#refused(
        place,
        `the format of a disk is one of ${diskFormats.join(', ')}, and not ${JSON.stringify(format)}`,
      );
    }
    const file = named ?? `disk${before + 1}.img`;
    return defined({
      id: named === undefined ? `disk${before}.img` : (attributeOf(element, 'id') ?? named),
      file,
      use: attributeOf(element, 'use') ?? 'system',
      sizeMib: this.#size(element),
      format,
      checksums: checksumsOf(element),
      place: element.place,
    });
  }

  #size(element: XmlElement): number | undefined {
    const written = element.attributes.get('size');
    if (written === undefined || written.value === '') return undefined;
    const text = written.value.trim();
    const value = /^\+?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    if (Number.isFinite(value) && value > 0) return value;
    this.#warnings.add(
      written,
      `the size ${JSON.stringify(written.value)} is no number of MiB above 0, and not used`,
    );
    return undefined;
  }

  #refused(place: XmlPlace | undefined, message: string): ImageError {
    return new ImageError('IMAGE_MALFORMED', atPlace(this.#file, place, message), {
      structure: STRUCTURE,
      hint: 'correct the descriptor at this place; `gantry machine lint` names all that is wrong with it',
    });
  }
}

function isBootType(type: string | undefined): type is VirtImageBootType {
  return type === 'xen' || type === 'hvm';
}

function normalArchitecture(text: string): string {
  if (/^i[3-9]86/i.test(text)) return 'i686';
  return text === 'amd64' ? 'x86_64' : text;
}

function checksumsOf(disk: XmlElement): Record<string, string> {
  const sums = childrenNamed(disk, 'checksum').map((sum): [string, string] => [
    attributeOf(sum, 'type') ?? '',
    sum.text.trim().toLowerCase(),
  ]);
  return Object.fromEntries(sums.filter(([type]) => type !== ''));
}
