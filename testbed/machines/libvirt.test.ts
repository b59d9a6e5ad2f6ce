import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  completeMachine,
  type Machine,
  type MachineFacts,
  readLibvirtDomain,
  readVirtImage,
  virtImageFacts,
  writeLibvirtDomain,
} from '@gantry/machine';
import fc from 'fast-check';
import { projectModule } from '../house/pages.ts';
import { grammarOf, libvirtDomainGrammar } from './grammars.ts';

const { machines } = await projectModule<{ readonly machines: fc.Arbitrary<Machine> }>(
  'packages/machine/src/model.testkit.ts',
);
const { fullDescriptorBytes } = await projectModule<{ readonly fullDescriptorBytes: Uint8Array }>(
  'packages/machine/src/descriptors/virt-image/virt-image.testkit.ts',
);

const grammar = grammarOf(libvirtDomainGrammar);
const utf8 = new TextEncoder();

/** With paths as libvirt takes them, and features and kernels too. */
const runnable: fc.Arbitrary<Machine> = fc
  .tuple(
    machines,
    fc.record(
      {
        features: fc.record(
          { pae: fc.boolean(), acpi: fc.boolean(), apic: fc.boolean() },
          { requiredKeys: [] },
        ),
        kernel: fc.record(
          { path: fc.constant('/boot/a&b'), commandLine: fc.string() },
          { requiredKeys: ['path'] },
        ),
      },
      { requiredKeys: [] },
    ),
  )
  .map(([machine, more]) => ({
    ...machine,
    ...more,
    disks: machine.disks.map(({ path, ...disk }, index) => ({
      ...disk,
      ...(path !== undefined && { path: `/images/${index}/${xmlPath(path)}` }),
    })),
  }));

function xmlPath(path: string): string {
  return path.replaceAll(/[^\u0020-\ud7ff]/g, '_');
}

/** Machines with more drives of a kind than fit are refused; that is not what these tests look at. */
function written(
  machine: Machine,
  domainType: 'kvm' | 'qemu' | 'test',
): ReturnType<typeof writeLibvirtDomain> | undefined {
  try {
    return writeLibvirtDomain(machine, { domainType });
  } catch (error) {
    assert.match((error as Error).message, /names of the bus|beyond the|is read only/);
    return undefined;
  }
}

test("whatever a machine is, its domain XML is valid by libvirt's own grammar", () => {
  fc.assert(
    fc.property(runnable, fc.constantFrom('kvm', 'qemu', 'test'), (machine, domainType) => {
      const result = written(machine, domainType);
      if (result !== undefined) assert.deepEqual(grammar.errorsIn(result.text), [], result.text);
    }),
    { numRuns: 300 },
  );
});

test('what is read of a written domain is as it was, or was told as lost', () => {
  fc.assert(
    fc.property(runnable, (machine) => {
      const result = written(machine, 'kvm');
      if (result === undefined) return;
      const { facts, warnings } = readLibvirtDomain(utf8.encode(result.text));
      assert.deepEqual(warnings, []);
      const lost = (field: string) => result.losses.some((loss) => loss.field === field);
      for (const field of [
        'name',
        'uuid',
        'title',
        'description',
        'architecture',
        'firmware',
        'secureBoot',
        'cpuCount',
        'memoryBytes',
        'clock',
      ] as const) {
        if (!lost(field))
          assert.equal(facts[field], machine[field] === '' ? undefined : machine[field], field);
      }
      assert.equal(facts.tpm ?? false, machine.tpm ?? false);
      for (const [name, isOn] of Object.entries(machine.features ?? {}))
        if (!lost(`features.${name}`)) assert.equal(facts.features?.[name as 'pae'] ?? isOn, isOn, name);
      if (!lost('kernel.commandLine'))
        assert.equal(facts.kernel?.commandLine ?? '', machine.kernel?.commandLine ?? '');
      const kept = machine.disks
        .map((disk, index) => ({ disk, index }))
        .filter(({ index }) => !lost(`disks[${index}]`));
      assert.equal(facts.disks?.length, kept.length);
      for (const [at, { disk, index }] of kept.entries()) {
        for (const field of ['device', 'path', 'bus', 'target', 'readOnly', 'role'] as const) {
          const isSaid = disk[field] !== undefined && !lost(`disks[${index}].${field}`);
          if (isSaid)
            assert.equal(facts.disks?.[at]?.[field] ?? false, disk[field], `disks[${index}].${field}`);
        }
      }
      for (const [index, nic] of machine.nics.entries()) {
        for (const field of ['model', 'macAddress', 'network', 'networkName'] as const)
          if (!lost(`nics[${index}].${field}`))
            assert.equal(facts.nics?.[index]?.[field], nic[field], `nics[${index}].${field}`);
      }
      assert.equal(facts.graphics?.kind, machine.graphics?.kind);
      for (const field of ['port', 'listenAddress', 'keymap'] as const)
        if (!lost(`graphics.${field}`)) assert.equal(facts.graphics?.[field], machine.graphics?.[field]);
    }),
    { numRuns: 300 },
  );
});

/** Defines a domain with the test driver, and gives what libvirt prints of it. */
function definedAs(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-libvirt-'));
  try {
    const file = join(folder, 'domain.xml');
    writeFileSync(file, text);
    const [, name = ''] = /<name>(.*)<\/name>/.exec(text) ?? [];
    const plain = name.replaceAll(
      /&(amp|lt|gt|quot);/g,
      (_, word) => ({ amp: '&', lt: '<', gt: '>', quot: '"' })[word as 'amp'] ?? '',
    );
    const commands = `define --validate ${file}; dumpxml --domain '${plain.replaceAll("'", "'\\''")}'`;
    const printed = execFileSync('virsh', ['--connect', 'test:///default', '--quiet', commands], {
      encoding: 'utf8',
    });
    return printed.slice(printed.indexOf('<domain'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const facts: MachineFacts = {
  name: 'crane',
  uuid: '1b4e28ba-2fa1-41d2-883f-0016d3cca427',
  title: 'A <crane> & "more"',
  description: 'two\nlines\tand é',
  disks: [
    {
      role: 'system',
      device: 'disk',
      path: "/images/it's & <root>.qcow2",
      format: 'qcow2',
      bus: 'ide',
      target: 'hda',
      bootOrder: 2,
    },
    {
      role: 'system',
      device: 'cdrom',
      path: '/images/tools.iso',
      format: 'iso',
      bus: 'ide',
      target: 'hdc',
      bootOrder: 1,
      readOnly: true,
    },
    { role: 'scratch', device: 'disk', path: '/images/work.raw', format: 'raw', bus: 'virtio' },
  ],
  nics: [
    { network: 'nat', model: 'e1000', macAddress: '52:54:00:12:34:56' },
    { network: 'named', networkName: 'default' },
  ],
  graphics: { kind: 'vnc', keymap: 'ja' },
};

test('libvirt takes written domains and has them as they were', () => {
  const machine = completeMachine(facts);
  for (const change of [
    {},
    { name: 'hostile"><script>&amp;' },
    { features: { acpi: false, apic: false, pae: true } },
    {
      kernel: {
        path: '/boot/vmlinuz',
        initrdPath: '/boot/initrd',
        commandLine: 'root=/dev/vda "quoted" <&>',
      },
    },
    { disks: [], nics: [], architecture: 'i686' as const },
  ]) {
    const { text, losses } = writeLibvirtDomain({ ...machine, ...change }, { domainType: 'test' });
    assert.deepEqual(grammar.errorsIn(text), []);
    const before = readLibvirtDomain(utf8.encode(text)).facts;
    const after = readLibvirtDomain(utf8.encode(definedAs(text))).facts;
    // libvirt gives every NIC an address, and screens where they listen.
    const comparable = ({ nics, graphics, uuid, ...rest }: MachineFacts) => ({
      ...rest,
      nics: nics?.map(({ network, networkName, model }) => ({ network, networkName, model })),
      graphics: graphics && { kind: graphics.kind, keymap: graphics.keymap },
    });
    assert.deepEqual(comparable(after), comparable(before), text);
    assert.deepEqual(
      losses.map(({ field }) => field).filter((field) => !/bootOrder|^name$/.test(field)),
      [],
    );
  }
});

test('each boot of a virt-image becomes a domain that libvirt takes', () => {
  const { image } = readVirtImage(fullDescriptorBytes);
  for (const bootIndex of [0, 1]) {
    const { disks = [], ...rest } = virtImageFacts(image, { bootIndex });
    const absolute = disks.map((disk) => ({ ...disk, path: `/images/${disk.path}` }));
    const machine = completeMachine({ ...rest, disks: absolute });
    const { text } = writeLibvirtDomain(machine, { domainType: 'test' });
    assert.deepEqual(grammar.errorsIn(text), []);
    assert.match(definedAs(text), bootIndex === 0 ? /<bootloader>\/usr\/bin\/pygrub</ : /<boot order='1'\/>/);
  }
});

test('a domain that people have is read, and what is left out is told', () => {
  const text = `<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name>
  <uuid>1B4E28BA-2FA1-41D2-883F-0016D3CCA427</uuid>
  <metadata><x xmlns='urn:x'/></metadata>
  <memory unit='GiB'>4</memory>
  <currentMemory unit='KiB'>2097152</currentMemory>
  <vcpu placement='static' current='2'>4</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <loader readonly='yes' secure='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.ms.fd</loader>
    <boot dev='cdrom'/><boot dev='hd'/><boot dev='network'/>
  </os>
  <features><acpi/><apic/><vmport state='off'/></features>
  <clock offset='localtime'><timer name='rtc'/></clock>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='vpc' discard='unmap'/>
      <source file='/images/web.vhd' index='2'/>
      <backingStore/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='network' device='disk'><source protocol='rbd' name='pool/x'/><target dev='vdb' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
    <disk type='block' device='lun'><source dev='/dev/sdb'/><target dev='sdc' bus='scsi'/></disk>
    <interface type='direct'><mac address='52:54:00:AA:bb:cc'/><source dev='eth0' mode='bridge'/><model type='virtio'/></interface>
    <interface type='hostdev'><link state='down'/></interface>
    <graphics type='spice' port='5901' autoport='no' listen='0.0.0.0'/>
    <hostdev mode='subsystem' type='pci'/>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
  </devices>
  <qemu:commandline><qemu:arg value='-x'/></qemu:commandline>
</domain>`;
  const { facts: read, warnings } = readLibvirtDomain(utf8.encode(text), 'web.xml');
  assert.deepEqual(read, {
    name: 'web',
    uuid: '1b4e28ba-2fa1-41d2-883f-0016d3cca427',
    architecture: 'x86_64',
    firmware: 'uefi',
    secureBoot: true,
    tpm: true,
    cpuCount: 2,
    memoryBytes: 4 * 2 ** 30,
    clock: 'local',
    features: { acpi: true, apic: true },
    disks: [
      {
        role: 'system',
        device: 'disk',
        path: '/images/web.vhd',
        format: 'vhd',
        bus: 'virtio',
        target: 'vda',
        bootOrder: 2,
      },
      { role: 'system', device: 'disk', bus: 'virtio', target: 'vdb' },
      { role: 'system', device: 'cdrom', bus: 'sata', target: 'sda', bootOrder: 1, readOnly: true },
    ],
    nics: [
      { network: 'bridged', networkName: 'eth0', macAddress: '52:54:00:aa:bb:cc', model: 'virtio' },
      { network: 'unplugged' },
    ],
    graphics: { kind: 'spice', port: 5901, listenAddress: '0.0.0.0' },
  });
  assert.deepEqual(
    warnings.map((warning) => warning.replace(/^web\.xml:(\d+):\d+: /, '$1 ')),
    [
      '23 what the disk shows is no file of this host (network), and not in the machine',
      '25 a disk of the kind lun is not in the machine',
      '27 a network of the kind hostdev is read as user networking',
      '29 the device <hostdev> is not in the machine',
      '32 <commandline> of http://libvirt.org/schemas/domain/qemu/1.0 is not in the machine',
    ],
  );
});

test('what is no domain, or no machine, is refused', () => {
  const read = (text: string) => readLibvirtDomain(utf8.encode(text), 'x.xml');
  assert.throws(() => read('<network/>'), { code: 'IMAGE_MALFORMED', message: /^x\.xml:1:1: .*<network>/ });
  assert.throws(() => read('<domain><os><type>exe</type></os></domain>'), {
    code: 'IMAGE_UNSUPPORTED',
    message: /"exe"/,
  });
  assert.throws(() => read("<domain><os><type arch='vax'>hvm</type></os></domain>"), {
    code: 'IMAGE_UNSUPPORTED',
    message: /vax/,
  });
  assert.throws(() => read("<domain><memory unit='furlong'>1</memory><os><type>hvm</type></os></domain>"), {
    code: 'IMAGE_MALFORMED',
  });
  assert.throws(() => read('<domain><vcpu>none</vcpu><os><type>hvm</type></os></domain>'), {
    code: 'IMAGE_MALFORMED',
  });
});

test('what libvirt cannot run or name is refused', () => {
  const machine = completeMachine(facts);
  const withDisk = (change: object) =>
    ({ ...machine, disks: [{ ...machine.disks[0], ...change }] }) as Machine;
  assert.throws(() => writeLibvirtDomain(withDisk({ path: 'relative.raw' })), {
    code: 'IMAGE_OPTION',
    message: /"relative\.raw"/,
  });
  assert.throws(() => writeLibvirtDomain(withDisk({ path: '/a\nb' })), { code: 'IMAGE_OPTION' });
  assert.throws(() => writeLibvirtDomain(withDisk({ format: 'vhdx' })), {
    code: 'IMAGE_UNSUPPORTED',
    message: /vhdx/,
  });
  assert.throws(() => writeLibvirtDomain({ ...machine, guestType: 'xen' }, { domainType: 'kvm' }), {
    code: 'IMAGE_UNSUPPORTED',
  });
  assert.throws(() => writeLibvirtDomain({ ...machine, architecture: 'mips' }), {
    code: 'IMAGE_UNSUPPORTED',
  });
  const twice = { ...machine, disks: [...machine.disks, ...machine.disks] };
  assert.throws(() => writeLibvirtDomain(twice), { code: 'IMAGE_OPTION', message: /"hda" is used twice/ });
});
