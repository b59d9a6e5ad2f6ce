import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { convert, denyReferences, fileSink, ImageError, memorySource, openDisk } from '@gantry/disk';
import fc from 'fast-check';
import { completeMachine } from '../../complete.ts';
import { machines } from '../../model.testkit.ts';
import type { Machine, MachineDisk } from '../../model.ts';
import { all, assertSettings, child, parsedByPython } from './settings.rules.testkit.ts';
import { writeVirtualBoxSettings } from './settings.ts';

const uuid = '1b4e28ba-2fa1-11d2-883f-0016d3cca427';
const system: MachineDisk = { role: 'system', device: 'disk', path: 'web.vmdk', format: 'vmdk', uuid };
const machine = completeMachine({
  name: 'web',
  firmware: 'uefi',
  cpuCount: 2,
  memoryBytes: 4 * 2 ** 30,
  guestOs: { name: 'Oracle Linux', version: '9' },
  disks: [system],
});

function written(from: Machine) {
  const { text, losses } = writeVirtualBoxSettings(from);
  const [root] = parsedByPython([text]);
  assert.ok(root);
  assertSettings(root);
  return { root, losses, hardware: child(root, 'Machine', 'Hardware') };
}

test('a machine of an UEFI image has EFI, AHCI, NAT and a clock in UTC', () => {
  const { root, losses, hardware } = written(machine);
  assert.deepEqual(
    losses.map(({ field }) => field),
    ['guestOs.version'],
  );
  assert.equal(child(root, 'Machine').attributes.OSType, 'Oracle_64');
  assert.equal(child(hardware, 'Firmware').attributes.type, 'EFI');
  assert.equal(child(hardware, 'Memory').attributes.RAMSize, '4096');
  assert.equal(child(hardware, 'CPU').attributes.count, '2');
  assert.equal(child(hardware, 'RTC').attributes.localOrUTC, 'UTC');
  const [adapter, ...others] = child(hardware, 'Network').children;
  assert.deepEqual(others, []);
  assert.match(adapter?.attributes.MACAddress ?? '', /^080027[0-9A-F]{6}$/);
  assert.equal(adapter?.children[0]?.tag, '{http://www.virtualbox.org/}NAT');
  const controller = child(root, 'Machine', 'StorageControllers', 'StorageController');
  assert.deepEqual(
    [controller.attributes.type, controller.attributes.PortCount, controller.children.length],
    ['AHCI', '1', 1],
  );
  const disk = child(root, 'Machine', 'MediaRegistry', 'HardDisks', 'HardDisk');
  assert.deepEqual(disk.attributes, {
    uuid: `{${uuid}}`,
    location: 'web.vmdk',
    format: 'VMDK',
    type: 'Normal',
  });
  assert.equal(
    child(written({ ...machine, firmware: 'bios', clock: 'local' }).hardware, 'RTC').attributes.localOrUTC,
    'local',
  );
});

test('the registry has the UUID that stands in the image, and machines have fresh ones', async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-machine-'));
  context.after(() => rm(folder, { recursive: true }));
  const disk = await openDisk(memorySource(new Uint8Array(2 ** 20)), {
    format: 'raw',
    references: denyReferences,
  });
  const path = join(folder, 'x.vmdk');
  await convert(disk, await fileSink(path), { format: 'vmdk', options: { subformat: 'monolithicSparse' } });
  const inside = /ddb\.uuid\.image = "([0-9a-f-]+)"/.exec((await readFile(path)).toString('latin1'))?.[1];
  assert.ok(inside);
  const image = { ...system, path, uuid: inside.toUpperCase() };
  const { root } = written({ ...machine, disks: [image] });
  assert.equal(all(root, 'HardDisk')[0]?.attributes.uuid, `{${inside}}`);
  assert.equal(all(root, 'Image')[0]?.attributes.uuid, `{${inside}}`);
  const again = written({ ...machine, disks: [image] }).root;
  assert.notEqual(child(root, 'Machine').attributes.uuid, child(again, 'Machine').attributes.uuid);
  assert.equal(child(written({ ...machine, uuid }).root, 'Machine').attributes.uuid, `{${uuid}}`);
});

test('a name of any letters is read as it was written', () => {
  const name = `<&>"' é 日本 \u{1f5a5} ]]>`;
  const description = 'first\n\tsecond & <last>\n';
  const { root } = written({
    ...machine,
    name,
    description,
    disks: [{ ...system, path: `/a "b"/<c>'d'&.vmdk` }],
  });
  assert.equal(child(root, 'Machine').attributes.name, name);
  assert.equal(child(root, 'Machine', 'Description').text, description);
  assert.equal(all(root, 'HardDisk')[0]?.attributes.location, `/a "b"/<c>'d'&.vmdk`);
  for (const bad of ['', 'a\nb', 'a\0b', '\ud800', 'a\uffff'])
    assert.throws(() => writeVirtualBoxSettings({ ...machine, name: bad }), { code: 'IMAGE_OPTION' });
  assert.throws(() => writeVirtualBoxSettings({ ...machine, description: '\u0001' }), {
    code: 'IMAGE_OPTION',
  });
});

test('disks stand where their bus says, and CDs and floppies beside them', () => {
  const other = (at: number, more: Partial<MachineDisk> = {}): MachineDisk => ({
    ...system,
    path: `${at}.vdi`,
    format: 'vdi',
    uuid: `00000000-0000-4000-8000-00000000000${at}`,
    ...more,
  });
  const { root, losses } = written({
    ...machine,
    disks: [
      other(1, { bus: 'ide', bootOrder: 2 }),
      other(2, { bus: 'ide' }),
      other(3, { bus: 'ide' }),
      other(4, { bus: 'scsi' }),
      other(5, { bus: 'virtio', role: 'scratch', bootOrder: 3 }),
      { role: 'user', device: 'cdrom', path: 'tools.iso', bootOrder: 1, readOnly: true },
      { role: 'user', device: 'cdrom' },
      { role: 'user', device: 'floppy', path: 'f.img' },
      { role: 'scratch', device: 'disk', virtualSizeBytes: 5 },
    ],
  });
  const places = all(root, 'StorageController').map(({ attributes, children }) => [
    attributes.type,
    attributes.PortCount,
    ...children.map(
      (device) => `${device.attributes.type} ${device.attributes.port}:${device.attributes.device}`,
    ),
  ]);
  assert.deepEqual(places, [
    ['AHCI', '3', 'HardDisk 0:0', 'DVD 1:0', 'DVD 2:0'],
    ['PIIX4', '2', 'HardDisk 0:0', 'HardDisk 0:1', 'HardDisk 1:0'],
    ['LsiLogic', '16', 'HardDisk 0:0'],
    ['I82078', '1', 'Floppy 0:0'],
  ]);
  assert.deepEqual(
    all(root, 'Order').map(({ attributes }) => attributes.device),
    ['DVD', 'HardDisk', 'None', 'None'],
  );
  assert.deepEqual(losses.map(({ field }) => field).sort(), [
    'disks[4].bootOrder',
    'disks[4].bus',
    'disks[4].role',
    'disks[8]',
    'guestOs.version',
  ]);
});

test('networks and models are those of VirtualBox, and what differs is told', () => {
  const { root, losses } = written({
    ...machine,
    nics: [
      { network: 'bridged', networkName: 'eth0', model: 'virtio', macAddress: '52:54:00:ab:cd:ef' },
      { network: 'named', networkName: 'lab', model: 'vmxnet3' },
      { network: 'isolated', model: 'pcnet', macAddress: '01:00:5e:00:00:01' },
      { network: 'unplugged', networkName: 'x' },
      ...Array.from({ length: 5 }, () => ({ network: 'nat' as const })),
    ],
  });
  const adapters = all(root, 'Adapter');
  assert.equal(adapters.length, 8);
  assert.equal(adapters[0]?.attributes.MACAddress, '525400ABCDEF');
  assert.deepEqual(
    adapters
      .slice(0, 4)
      .map(({ attributes, children }) => [attributes.type, attributes.cable, children[0]?.attributes.name]),
    [
      ['virtio', 'true', 'eth0'],
      ['82540EM', 'true', 'lab'],
      ['Am79C973', 'true', undefined],
      ['82540EM', 'false', undefined],
    ],
  );
  assert.deepEqual(losses.map(({ field }) => field).sort(), [
    'guestOs.version',
    'nics[1].model',
    'nics[2].macAddress',
    'nics[3].networkName',
    'nics[8]',
  ]);
});

test('what VirtualBox would refuse is refused', () => {
  const refused = (changes: Partial<Machine>, code: string, message: RegExp) =>
    assert.throws(() => writeVirtualBoxSettings({ ...machine, ...changes }), { code, message });
  const { uuid: _, ...nameless } = system;
  const { format: __, ...formless } = system;
  refused({ disks: [nameless] }, 'IMAGE_OPTION', /uuid/);
  refused({ disks: [formless] }, 'IMAGE_OPTION', /format/);
  refused(
    { disks: [{ ...system, uuid: '00000000-0000-0000-0000-000000000000' }] },
    'IMAGE_OPTION',
    /no UUID/,
  );
  refused({ disks: [system, { ...system, path: 'copy.vmdk' }] }, 'IMAGE_OPTION', /another image/);
  refused({ disks: [{ ...system, format: 'qcow2' }] }, 'IMAGE_UNSUPPORTED', /qcow2/);
  refused({ uuid: 'x' }, 'IMAGE_OPTION', /no UUID/);
  refused({ architecture: 'aarch64' }, 'IMAGE_UNSUPPORTED', /x86/);
  refused({ architecture: 's390x' }, 'IMAGE_UNSUPPORTED', /s390x/);
  refused({ nics: [{ network: 'named' }] }, 'IMAGE_OPTION', /networkName/);
  const ide = Array.from({ length: 5 }, (): MachineDisk => ({ role: 'user', device: 'cdrom', bus: 'ide' }));
  refused({ disks: ide }, 'IMAGE_OPTION', /takes 4/);
});

test('of any machine the settings follow the rules, or the machine is refused', () => {
  const texts: string[] = [];
  fc.assert(
    fc.property(machines, (from) => {
      // Images and networks that VirtualBox takes, so that most machines are written.
      const disks = from.disks.map((disk, i) =>
        disk.device === 'disk'
          ? { ...disk, path: disk.path ?? `${i}`, format: 'vmdk', uuid: disk.uuid ?? uuid }
          : disk,
      );
      const nics = from.nics.map((nic) => ({ networkName: 'n', ...nic }));
      try {
        texts.push(writeVirtualBoxSettings({ ...from, architecture: 'x86_64', disks, nics }).text);
      } catch (error) {
        assert.ok(error instanceof ImageError, String(error));
      }
    }),
  );
  assert.ok(texts.length > 20, `${texts.length}`);
  for (const root of parsedByPython(texts)) assertSettings(root);
});
