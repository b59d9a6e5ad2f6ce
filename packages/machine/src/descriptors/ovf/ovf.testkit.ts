const head = `xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vbox="http://www.virtualbox.org/ovf/machine"`;

/** A rasd:Item with these properties. */
export function item(properties: Readonly<Record<string, string | number>>, attributes = ''): string {
  const children = Object.entries(properties).map(([name, value]) => `<rasd:${name}>${value}</rasd:${name}>`);
  return `<Item ${attributes}>${children.join('')}</Item>`;
}

/** An envelope of one system, with what is given put in its places. */
export function envelope(parts: {
  readonly references?: string;
  readonly disks?: string;
  readonly sections?: string;
  readonly system?: string;
  readonly hardware?: string;
}): string {
  const { references = '', disks = '', sections = '', system = '', hardware = '' } = parts;
  return `<?xml version="1.0" encoding="UTF-8"?>
<Envelope ${head}>
<References>${references}</References>
<DiskSection><Info/>${disks}</DiskSection>
${sections}
<VirtualSystem ovf:id="vm"><Info/>${system}
<VirtualHardwareSection><Info/>${hardware}</VirtualHardwareSection>
</VirtualSystem>
</Envelope>`;
}

const streamOptimized = 'http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized';

/** As vCenter exports a machine with UEFI, a TPM, two disks on two controllers and an empty drive. */
export const vmwareDescriptor: string = envelope({
  references: `<File ovf:href="web-disk1.vmdk" ovf:id="file1" ovf:size="100"/>
<File ovf:href="web%20data.vmdk" ovf:id="file2" ovf:size="100"/><File ovf:href="web.nvram" ovf:id="file3" ovf:size="8684"/>`,
  disks: `<Disk ovf:capacity="16" ovf:capacityAllocationUnits="byte * 2^30" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="${streamOptimized}" ovf:populatedSize="1"/>
<Disk ovf:capacity="1073741824" ovf:diskId="vmdisk2" ovf:fileRef="file2" ovf:format="${streamOptimized}"/>`,
  sections: `<NetworkSection><Info/><Network ovf:name="VM Network"><Description/></Network></NetworkSection>
<vmw:StorageGroupSection ovf:required="false" vmw:id="group1" vmw:name="Policy"><Info/></vmw:StorageGroupSection>`,
  system: `<Name>web</Name>
<OperatingSystemSection ovf:id="101" vmw:osType="debian11_64Guest"><Info/><Description>Debian GNU/Linux 11 (64-bit)</Description></OperatingSystemSection>
<AnnotationSection><Info/><Annotation>one
two</Annotation></AnnotationSection>
<vmw:BootOrderSection vmw:instanceId="9 7" vmw:type="disk cdrom"><Info/></vmw:BootOrderSection>`,
  hardware: `<System><vssd:ElementName>Virtual Hardware Family</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID><vssd:VirtualSystemType>vmx-19</vssd:VirtualSystemType></System>
${item({ AllocationUnits: 'hertz * 10^6', ElementName: '4 virtual CPU(s)', InstanceID: 1, Reservation: 0, ResourceType: 3, VirtualQuantity: 4, Weight: 1000 })}
${item({ AllocationUnits: 'byte * 2^20', ElementName: '8192MB of memory', InstanceID: 2, ResourceType: 4, VirtualQuantity: 8192 })}
${item({ Address: 0, ElementName: 'SCSI Controller 1', InstanceID: 3, ResourceSubType: 'VirtualSCSI', ResourceType: 6 })}
${item({ Address: 0, ElementName: 'SATA Controller 1', InstanceID: 4, ResourceSubType: 'vmware.sata.ahci', ResourceType: 20 })}
${item({ ElementName: 'USB controller', InstanceID: 5, ResourceSubType: 'vmware.usb.xhci', ResourceType: 23 }, 'ovf:required="false"')}
${item({ Address: 0, ElementName: 'NVMe Controller 1', InstanceID: 6, ResourceSubType: 'vmware.nvme.controller', ResourceType: 20 })}
${item({ AddressOnParent: 0, AutomaticAllocation: 'false', ElementName: 'CD/DVD Drive 1', InstanceID: 7, Parent: 4, ResourceSubType: 'vmware.cdrom.remotepassthrough', ResourceType: 15 }, 'ovf:required="false"')}
${item({ AddressOnParent: 1, ElementName: 'Hard Disk 2', HostResource: 'ovf:/disk/vmdisk2', InstanceID: 8, Parent: 3, ResourceType: 17 })}
${item({ AddressOnParent: 0, ElementName: 'Hard Disk 1', HostResource: 'ovf:/disk/vmdisk1', InstanceID: 9, Parent: 3, ResourceType: 17 })}
${item({ AddressOnParent: 7, AutomaticAllocation: 'true', Connection: 'VM Network', ElementName: 'Ethernet 1', InstanceID: 10, ResourceSubType: 'VmxNet3', ResourceType: 10 })}
${item({ AutomaticAllocation: 'false', ElementName: 'Virtual TPM', InstanceID: 11, ResourceSubType: 'vmware.vtpm', ResourceType: 1 }, 'ovf:required="false"')}
${item({ ElementName: 'VMCI device', InstanceID: 12, ResourceSubType: 'vmware.vmci', ResourceType: 1 }, 'ovf:required="false"')}
<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
<vmw:Config ovf:required="false" vmw:key="bootOptions.efiSecureBootEnabled" vmw:value="true"/>
<vmw:Config ovf:required="false" vmw:key="cpuHotAddEnabled" vmw:value="false"/>
<vmw:ExtraConfig ovf:required="false" vmw:key="nvram" vmw:value="ovf:/file/file3"/>`,
});

/** As VirtualBox 7.0 exports one for OVF 1.0, its own settings beside the rest. */
export const virtualBoxDescriptor: string = envelope({
  references: '<File ovf:id="file1" ovf:href="web-disk001.vmdk"/><File ovf:id="file2" ovf:href="tools.iso"/>',
  disks: `<Disk ovf:capacity="8589934592" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="${streamOptimized}" vbox:uuid="1b4e28ba-2fa1-11d2-883f-0016d3cca427"/>`,
  sections: '<NetworkSection><Info/><Network ovf:name="NAT"><Description/></Network></NetworkSection>',
  system: `<OperatingSystemSection ovf:id="94"><Info/><Description>Ubuntu_64</Description><vbox:OSType ovf:required="false">Ubuntu22_LTS_64</vbox:OSType></OperatingSystemSection>
<vbox:Machine ovf:required="false" version="1.19-linux" uuid="{1b4e28ba-2fa1-11d2-883f-0016d3cca428}" name="web" OSType="Ubuntu22_LTS_64"><ovf:Info/><Hardware><Firmware type="EFI"/><RTC localOrUTC="UTC"/></Hardware></vbox:Machine>`,
  hardware: `<System><vssd:VirtualSystemType>virtualbox-2.2</vssd:VirtualSystemType></System>
${item({ Caption: '2 virtual CPU', InstanceID: 1, ResourceType: 3, VirtualQuantity: 2 })}
${item({ AllocationUnits: 'MegaBytes', Caption: '2048 MB of memory', InstanceID: 2, ResourceType: 4, VirtualQuantity: 2048 })}
${item({ Address: 0, Caption: 'ideController0', InstanceID: 3, ResourceSubType: 'PIIX4', ResourceType: 5 })}
${item({ Address: 1, Caption: 'ideController1', InstanceID: 4, ResourceSubType: 'PIIX4', ResourceType: 5 })}
${item({ Address: 0, Caption: 'sataController0', InstanceID: 5, ResourceSubType: 'AHCI', ResourceType: 20 })}
${item({ Caption: 'usb', InstanceID: 6, ResourceType: 23 })}
${item({ Caption: 'sound', InstanceID: 7, ResourceSubType: 'ensoniq1371', ResourceType: 35 }, 'ovf:required="false"')}
${item({ AddressOnParent: 0, Caption: 'disk1', HostResource: '/disk/vmdisk1', InstanceID: 8, Parent: 5, ResourceType: 17 })}
${item({ AddressOnParent: 0, Caption: 'cdrom1', HostResource: 'ovf:/file/file2', InstanceID: 9, Parent: 4, ResourceType: 15 })}
${item({ AutomaticAllocation: 'true', Connection: 'NAT', InstanceID: 10, ResourceSubType: 'E1000', ResourceType: 10 })}`,
});
