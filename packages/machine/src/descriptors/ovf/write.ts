import { Losses } from '../../losses.ts';
import type { Machine, MachineFacts, WrittenDescriptor } from '../../model.ts';
import { type XmlNode, xml, xmlCharacters, xmlDocument, xmlIf } from '../xml/write.ts';
import { itemNode } from './item-node.ts';
import { type OvfDiskFile, placeDevices } from './place.ts';
import { writtenSystem } from './systems.ts';
import { namespaces, resourceTypes as types } from './words.ts';
import { ownNode } from './write-own.ts';

const CLOUD = 'OVF launches no instances';
const MIB: number = 2 ** 20;
/** What VMware takes: memory in steps of 4 MiB. */
const MEMORY_STEP_MIB = 4;

type Held = Exclude<
  keyof MachineFacts,
  'launchOptions' | 'shapeCompatibilities' | 'imageCapabilities' | 'foreign'
>;

/** What the descriptor says nothing about. A field that the model gets has to be put here or written. */
const notHeld: Readonly<Record<Exclude<keyof MachineFacts, Held>, string>> = {
  launchOptions: CLOUD,
  shapeCompatibilities: CLOUD,
  imageCapabilities: CLOUD,
  foreign: 'it belongs to another descriptor',
};

/** ESXi 6.5 and everything since; 6.7 for a TPM. VirtualBox takes any. */
const HARDWARE = { plain: 'vmx-13', withTpm: 'vmx-14' };

/**
 * Writes an OVF 1 descriptor that VMware's and VirtualBox's programs import. `files` gives the length of each file
 * and the size of the disk in it by the disk's path; the size is needed where the machine does not have it. What OVF
 * has no place for stands in a section of this project's own, which others leave out; `losses` names what is not in
 * the descriptor, and what only this project reads of it though a guest may need it. Throws IMAGE_OPTION for paths
 * that do not stay beside the descriptor, for disks without a size, and for more devices than fit.
 */
export function writeOvf(
  machine: Machine,
  files: ReadonlyMap<string, OvfDiskFile> = new Map(),
): WrittenDescriptor {
  const losses = new Losses();
  losses.addFields(machine, notHeld);
  tellOwn(machine, losses);
  const devices = placeDevices(machine, files, losses);
  const name = lineOf(machine.name, losses);
  const system = writtenSystem(machine.guestOs ?? {}, machine.architecture);
  const text = xmlDocument(
    xml(
      'Envelope',
      {
        xmlns: namespaces.ovf,
        'xmlns:ovf': namespaces.ovf,
        'xmlns:rasd': namespaces.rasd,
        'xmlns:vssd': namespaces.vssd,
        'xmlns:vmw': namespaces.vmw,
        'xmlns:gantry': namespaces.gantry,
      },
      [
        xml('References', {}, devices.files),
        devices.disks.length === 0 ? undefined : section('DiskSection', 'Virtual disks', devices.disks),
        devices.networks.length === 0
          ? undefined
          : section('NetworkSection', 'Networks', devices.networks.map(networkNode)),
        xml('VirtualSystem', { 'ovf:id': name }, [
          xml('Info', {}, 'A virtual machine'),
          xml('Name', {}, name),
          productNode(machine, losses),
          annotationNode(machine, losses),
          xml('OperatingSystemSection', { 'ovf:id': system.cimId, 'vmw:osType': system.vmware }, [
            xml('Info', {}, 'The operating system'),
            xmlIf('Description', systemName(machine)),
          ]),
          hardwareNode(machine, name, devices.items, losses),
          devices.bootItem === undefined
            ? undefined
            : xml(
                'vmw:BootOrderSection',
                {
                  'ovf:required': 'false',
                  'vmw:instanceId': devices.bootItem.id,
                  'vmw:type': devices.bootItem.type,
                },
                [xml('Info', {}, 'The device that is started from')],
              ),
          ownNode(machine, system.vmware, devices, losses),
        ]),
      ],
    ),
  );
  return { text, losses: losses.all };
}

function networkNode(name: string): XmlNode {
  return xml('Network', { 'ovf:name': name }, [xml('Description', {}, `The network ${name}`)]);
}

function section(name: string, info: string, content: readonly XmlNode[]): XmlNode {
  return xml(name, {}, [xml('Info', {}, info), ...content]);
}

/** What stands in the section of this project only, and decides how the guest is started. */
function tellOwn(
  { architecture, guestType, kernel, bootloader, firmware, secureBoot }: Machine,
  losses: Losses,
): void {
  const why = 'only Gantry reads it: VMware and VirtualBox start a PC from its disks';
  if (architecture !== 'x86_64' && architecture !== 'i686') losses.add('architecture', architecture, why);
  if (guestType === 'xen') losses.add('guestType', guestType, why);
  losses.add('kernel', kernel, why);
  losses.add('bootloader', bootloader, why);
  if (firmware !== 'uefi') losses.add('secureBoot', secureBoot, 'only UEFI has it');
}

function lineOf(name: string, losses: Losses): string {
  const clean = xmlCharacters(name)
    .replaceAll(/[\r\n\t]/g, ' ')
    .trim();
  const line = clean === '' ? 'machine' : clean;
  if (line !== name) losses.add('name', name, `a name is one line of characters that XML has: ${line} here`);
  return line;
}

function productNode({ title }: Machine, losses: Losses): XmlNode | undefined {
  const clean = title === undefined ? undefined : xmlCharacters(title).trim();
  if (clean !== title)
    losses.add('title', title, 'it is text of characters that XML has, without blanks around it');
  return clean ? section('ProductSection', 'What the machine is', [xml('Product', {}, clean)]) : undefined;
}

function annotationNode({ description }: Machine, losses: Losses): XmlNode | undefined {
  const clean = description === undefined ? undefined : xmlCharacters(description);
  if (clean !== description)
    losses.add('description', description, 'XML has no place for some of its characters');
  return clean ? section('AnnotationSection', 'A description', [xml('Annotation', {}, clean)]) : undefined;
}

function systemName({ guestOs: { name, version } = {} }: Machine): string | undefined {
  return xmlCharacters([name, version].filter((part) => part !== undefined).join(' ')) || undefined;
}

function hardwareNode(machine: Machine, name: string, devices: readonly XmlNode[], losses: Losses): XmlNode {
  const { cpuCount, firmware, memoryBytes, secureBoot, tpm } = machine;
  const memoryMib = Math.ceil(memoryBytes / MIB / MEMORY_STEP_MIB) * MEMORY_STEP_MIB;
  if (memoryMib * MIB !== memoryBytes)
    losses.add('memoryBytes', memoryBytes, `VMware has steps of 4 MiB, ${memoryMib} MiB here`);
  const config = (key: string, value: string) =>
    xml('vmw:Config', { 'ovf:required': 'false', 'vmw:key': key, 'vmw:value': value });
  const isEfi = firmware === 'uefi';
  return section('VirtualHardwareSection', 'Virtual hardware', [
    xml('System', {}, [
      xml('vssd:ElementName', {}, 'Virtual Hardware Family'),
      xml('vssd:InstanceID', {}, 0),
      xml('vssd:VirtualSystemIdentifier', {}, name),
      xml('vssd:VirtualSystemType', {}, tpm === true ? HARDWARE.withTpm : HARDWARE.plain),
    ]),
    itemNode(1, types.processor, `${cpuCount} virtual CPUs`, {
      AllocationUnits: 'hertz * 10^6',
      VirtualQuantity: cpuCount,
    }),
    // VirtualBox compares the unit with this text.
    itemNode(2, types.memory, `${memoryMib} MiB of memory`, {
      AllocationUnits: 'byte * 2^20',
      VirtualQuantity: memoryMib,
    }),
    ...devices,
    config('firmware', isEfi ? 'efi' : 'bios'),
    ...(isEfi && secureBoot !== undefined
      ? [config('bootOptions.efiSecureBootEnabled', String(secureBoot))]
      : []),
  ]);
}
