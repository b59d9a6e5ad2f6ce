import { utf8Bytes } from '../../bytes/fields.ts';
import { invariant } from '../../errors.ts';
import { xmlText } from './xml.ts';

/** A machine of one disk, as an appliance describes it. */
export interface NewMachine {
  readonly name: string;
  /** VMware's name of the guest's operating system: `otherGuest64`. */
  readonly osType: string;
  readonly cpuCount: number;
  readonly memoryMib: number;
  readonly firmware: 'bios' | 'efi';
  readonly virtualSizeBytes: number;
  readonly diskFileName: string;
}

/** The address that names what is written, and VMware compares. */
export const DISK_FORMAT = 'http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized';
/** ESXi 6.5 and everything since; older names of hardware bring older devices. */
const HARDWARE = 'vmx-13';

/** CIM's `Other 64-Bit` and `Other`. */
const OS_ID = { bits64: 102, other: 1 };

/**
 * A descriptor for VMware products (and those that read what they read) whose length does not depend on
 * `fileBytes`, the length of the disk's file, which is known later: it is filled up with spaces.
 */
export function encodeOvf(machine: NewMachine, fileBytes: number): Uint8Array {
  const longest = descriptorText(machine, Number.MAX_SAFE_INTEGER).length;
  const text = descriptorText(machine, fileBytes);
  const bytes = utf8Bytes(`${text}${' '.repeat(longest - text.length)}\n`);
  invariant(text.length <= longest, 'no number is longer than the longest');
  return bytes;
}

function descriptorText(machine: NewMachine, fileBytes: number): string {
  const name = xmlText(machine.name);
  const osId = machine.osType.includes('64') ? OS_ID.bits64 : OS_ID.other;
  const firmware =
    machine.firmware === 'efi'
      ? '\n      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>'
      : '';
  return `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:id="file1" ovf:href="${xmlText(machine.diskFileName)}" ovf:size="${fileBytes}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:capacity="${machine.virtualSizeBytes}" ovf:capacityAllocationUnits="byte" ovf:format="${DISK_FORMAT}"/>
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="VM Network">
      <Description>The network of the machine</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="${name}">
    <Info>A virtual machine</Info>
    <Name>${name}</Name>
    <OperatingSystemSection ovf:id="${osId}" vmw:osType="${xmlText(machine.osType)}">
      <Info>The operating system</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>${name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>${HARDWARE}</vssd:VirtualSystemType>
      </System>${item(1, 3, `${machine.cpuCount} virtual CPUs`, {
        AllocationUnits: 'hertz * 10^6',
        VirtualQuantity: machine.cpuCount,
      })}${item(2, 4, `${machine.memoryMib} MiB of memory`, {
        AllocationUnits: 'byte * 2^20',
        VirtualQuantity: machine.memoryMib,
      })}${item(3, 6, 'SCSI controller', { Address: 0, ResourceSubType: 'lsilogic' })}${item(
        4,
        17,
        'Disk 1',
        {
          AddressOnParent: 0,
          HostResource: 'ovf:/disk/vmdisk1',
          Parent: 3,
        },
      )}${item(5, 10, 'Network adapter 1', {
        AddressOnParent: 7,
        AutomaticAllocation: 'true',
        Connection: 'VM Network',
        ResourceSubType: 'E1000',
      })}${firmware}
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>`;
}

/** A rasd:Item: DSP0243 wants the properties in the order of their names. */
function item(
  instance: number,
  resourceType: number,
  name: string,
  properties: Readonly<Record<string, string | number>>,
): string {
  const all = { ...properties, ElementName: name, InstanceID: instance, ResourceType: resourceType };
  const lines = Object.entries(all)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `\n        <rasd:${key}>${xmlText(String(value))}</rasd:${key}>`);
  return `\n      <Item>${lines.join('')}\n      </Item>`;
}
