import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type OvfDescription, parseOvf } from './envelope.ts';
import { encodeOvf } from './new-descriptor.ts';

const parse = (document: string): OvfDescription => parseOvf(Buffer.from(document));

test('a descriptor as VirtualBox writes it is understood', () => {
  const ovf = parse(`<?xml version="1.0"?>
<Envelope ovf:version="1.0" xml:lang="en-US" xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="r" xmlns:vssd="v" xmlns:vbox="http://www.virtualbox.org/ovf/machine">
  <References><File ovf:id="file1" ovf:href="debian-disk001.vmdk"/></References>
  <DiskSection><Info>List</Info>
    <Disk ovf:capacity="8589934592" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized" vbox:uuid="x"/>
  </DiskSection>
  <VirtualSystem ovf:id="debian">
    <OperatingSystemSection ovf:id="96"><Info/><Description>Debian_64</Description><vbox:OSType ovf:required="false">Debian_64</vbox:OSType></OperatingSystemSection>
    <VirtualHardwareSection>
      <Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
      <Item><rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>2048</rasd:VirtualQuantity></Item>
    </VirtualHardwareSection>
    <vbox:Machine><Hardware><Firmware type="EFI"/></Hardware></vbox:Machine>
  </VirtualSystem>
</Envelope>`);
  assert.equal(ovf.name, 'debian');
  assert.equal(ovf.osId, 96);
  assert.equal(ovf.osType, 'Debian_64');
  assert.equal(ovf.cpuCount, 2);
  assert.equal(ovf.memoryBytes, 2 ** 31);
  assert.equal(ovf.firmware, 'efi');
  assert.deepEqual(
    ovf.disks.map(({ id, virtualSizeBytes, file }) => [id, virtualSizeBytes, file?.href]),
    [['vmdisk1', 2 ** 33, 'debian-disk001.vmdk']],
  );
});

const withDisk = (attributes: string, file = '<File id="f" href="d.vmdk"/>') =>
  parse(
    `<Envelope><References>${file}</References><DiskSection><Disk diskId="d" fileRef="f" ${attributes}/></DiskSection></Envelope>`,
  );

test('capacities are multiplied by their units', () => {
  const size = (attributes: string) => withDisk(attributes).disks[0]?.virtualSizeBytes;
  assert.equal(size('capacity="20" capacityAllocationUnits="byte * 2^30"'), 20 * 2 ** 30);
  assert.equal(size('capacity="20" capacityAllocationUnits="byte*10^9"'), 20e9);
  assert.equal(size('capacity="3" capacityAllocationUnits="GigaBytes"'), 3 * 2 ** 30);
  assert.equal(size('capacity="3" capacityAllocationUnits="byte * 1024"'), 3072);
  assert.equal(size('capacity="512"'), 512);
  assert.equal(size(`capacity="${'$'}{size}"`), undefined);
  assert.throws(() => size('capacity="1" capacityAllocationUnits="byte * 2^70"'), { code: 'IMAGE_LIMIT' });
  assert.throws(() => size('capacity="9007199254740993"'), { code: 'IMAGE_LIMIT' });
  assert.throws(() => size('capacity="1" capacityAllocationUnits="parsec"'), { code: 'IMAGE_MALFORMED' });
  assert.throws(() => size('capacity="1" capacityAllocationUnits="constructor"'), {
    code: 'IMAGE_MALFORMED',
  });
  assert.throws(() => size('capacity="-1"'), { code: 'IMAGE_MALFORMED' });
  assert.throws(() => size('capacity="1e3"'), { code: 'IMAGE_MALFORMED' });
});

test('compression and chunks of a file are told, and identity is none', () => {
  const file = (attributes: string) => withDisk('', `<File id="f" href="d" ${attributes}/>`).files[0];
  assert.equal(file('compression="gzip"')?.compression, 'gzip');
  assert.equal(file('compression="identity"')?.compression, undefined);
  assert.equal(file('chunkSize="1000"')?.isChunked, true);
  assert.equal(file('size="12"')?.lengthBytes, 12);
});

test('descriptors that contradict themselves are refused', () => {
  const disk = '<Disk diskId="d"/>';
  const refused = [
    '<Machine/>',
    `<Envelope><DiskSection>${disk}${disk}</DiskSection></Envelope>`,
    `<Envelope><DiskSection>${disk}</DiskSection><DiskSection/></Envelope>`,
    '<Envelope><DiskSection><Disk diskId="d" fileRef="f"/></DiskSection></Envelope>',
    '<Envelope><DiskSection><Disk capacity="1"/></DiskSection></Envelope>',
    '<Envelope><References><File id="f" href="a"/><File id="f" href="b"/></References></Envelope>',
  ];
  for (const document of refused) assert.throws(() => parse(document), { code: 'IMAGE_MALFORMED' });
});

test('what is written is as long for every length of the disk, and says what was asked', () => {
  const machine = {
    name: 'a <machine> & "more"',
    osType: 'debian11_64Guest',
    cpuCount: 4,
    memoryMib: 4096,
    firmware: 'efi',
    virtualSizeBytes: 10 * 2 ** 30,
    diskFileName: 'a-disk1.vmdk',
  } as const;
  const bytes = encodeOvf(machine, 1);
  assert.equal(encodeOvf(machine, 2 ** 50).length, bytes.length);
  const ovf = parseOvf(bytes);
  assert.equal(ovf.name, machine.name);
  assert.equal(ovf.osType, machine.osType);
  assert.equal(ovf.cpuCount, 4);
  assert.equal(ovf.memoryBytes, 2 ** 32);
  assert.equal(ovf.firmware, 'efi');
  assert.deepEqual(ovf.files, [
    { id: 'file1', href: 'a-disk1.vmdk', lengthBytes: 1, compression: undefined, isChunked: false },
  ]);
  assert.equal(ovf.disks[0]?.virtualSizeBytes, 10 * 2 ** 30);
});
