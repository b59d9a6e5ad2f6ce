import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ImageError, parseOvf } from '@gantry/disk';
import fc from 'fast-check';
import { completeMachine } from '../../complete.ts';
import { machines } from '../../model.testkit.ts';
import type { Machine, MachineDisk, MachineFacts } from '../../model.ts';
import { readXml } from '../xml/read.ts';
import type { XmlElement } from '../xml/tree.ts';
import { envelope, item, virtualBoxDescriptor, vmwareDescriptor } from './ovf.testkit.ts';
import { readOvf } from './read.ts';
import { bytesOfUnits } from './units.ts';
import { writeOvf } from './write.ts';

const utf8 = new TextEncoder();
const read = (text: string, options = {}) => readOvf(utf8.encode(text), 'web.ovf', options);

test('a descriptor as VMware exports it is read, and what is left out is told', () => {
  const { facts, warnings } = read(vmwareDescriptor);
  assert.deepEqual(facts, {
    name: 'web',
    description: 'one\ntwo',
    guestOs: { name: 'Debian', version: '11' },
    architecture: 'x86_64',
    firmware: 'uefi',
    secureBoot: true,
    tpm: true,
    cpuCount: 4,
    memoryBytes: 2 ** 33,
    disks: [
      { role: 'user', device: 'cdrom', bus: 'sata', readOnly: true, bootOrder: 2 },
      {
        role: 'system',
        device: 'disk',
        path: 'web-disk1.vmdk',
        format: 'vmdk',
        virtualSizeBytes: 2 ** 34,
        bus: 'scsi',
        bootOrder: 1,
      },
      {
        role: 'system',
        device: 'disk',
        path: 'web data.vmdk',
        format: 'vmdk',
        virtualSizeBytes: 2 ** 30,
        bus: 'scsi',
      },
    ],
    nics: [{ network: 'named', networkName: 'VM Network', model: 'vmxnet3' }],
  });
  assert.equal(warnings.length, 1, warnings.join('\n'));
  assert.match(warnings[0] ?? '', /^web\.ovf:\d+:1: settings of VMware .*: cpuHotAddEnabled, nvram$/);
});

test('a descriptor as VirtualBox exports it is read with the settings inside', () => {
  const { facts, warnings } = read(virtualBoxDescriptor);
  assert.deepEqual(warnings, []);
  assert.deepEqual(facts, {
    name: 'vm',
    guestOs: { name: 'Ubuntu', version: '22' },
    architecture: 'x86_64',
    firmware: 'uefi',
    clock: 'utc',
    cpuCount: 2,
    memoryBytes: 2 ** 31,
    disks: [
      {
        role: 'system',
        device: 'disk',
        path: 'web-disk001.vmdk',
        format: 'vmdk',
        virtualSizeBytes: 2 ** 33,
        bus: 'sata',
      },
      { role: 'user', device: 'cdrom', path: 'tools.iso', format: 'iso', bus: 'ide', readOnly: true },
    ],
    nics: [{ network: 'nat', model: 'e1000' }],
  });
});

test('storage and adapters of OVF 2 are read, and the boot order of oVirt', () => {
  const text = envelope({
    references: '<File ovf:id="f" ovf:href="d.qcow2"/>',
    disks: `<Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="\${size}" ovf:capacityAllocationUnits="byte * 2^30" ovf:format="http://www.gnome.org/~markmc/qcow-image-format.html"/><Disk ovf:diskId="e" ovf:capacity="5"/>`,
    system:
      '<ProductSection><Info/><Product>Web server</Product><Version>2</Version><Property ovf:key="size" ovf:value="3" ovf:type="int"/></ProductSection>',
    hardware: `${item({ InstanceID: 1, ResourceType: 20, ResourceSubType: 'virtio-scsi' })}
<StorageItem xmlns:sasd="urn:sasd"><sasd:AddressOnParent>1</sasd:AddressOnParent><sasd:HostResource>ovf:/disk/e</sasd:HostResource><sasd:InstanceID>2</sasd:InstanceID><sasd:Parent>1</sasd:Parent><sasd:ResourceType>31</sasd:ResourceType></StorageItem>
<StorageItem xmlns:sasd="urn:sasd"><sasd:AddressOnParent>0</sasd:AddressOnParent><sasd:HostResource>ovf:/disk/d</sasd:HostResource><sasd:InstanceID>3</sasd:InstanceID><sasd:Parent>1</sasd:Parent><sasd:ResourceType>17</sasd:ResourceType><BootOrder>1</BootOrder></StorageItem>
<EthernetPortItem xmlns:epasd="urn:epasd"><epasd:Address>52-54-00-AB-CD-EF</epasd:Address><epasd:AutomaticAllocation>false</epasd:AutomaticAllocation><epasd:Connection>lab</epasd:Connection><epasd:InstanceID>4</epasd:InstanceID><epasd:ResourceSubType>virtio E1000</epasd:ResourceSubType><epasd:ResourceType>10</epasd:ResourceType></EthernetPortItem>`,
  }).replaceAll('envelope/1', 'envelope/2');
  const { facts, warnings } = read(text);
  assert.equal(facts.title, 'Web server');
  assert.deepEqual(facts.disks, [
    {
      role: 'system',
      device: 'disk',
      path: 'd.qcow2',
      format: 'qcow2',
      virtualSizeBytes: 3 * 2 ** 30,
      bus: 'scsi',
      bootOrder: 1,
    },
    { role: 'user', device: 'disk', virtualSizeBytes: 5, bus: 'scsi' },
  ]);
  assert.deepEqual(facts.nics, [
    { network: 'unplugged', networkName: 'lab', macAddress: '52:54:00:ab:cd:ef', model: 'virtio' },
  ]);
  assert.deepEqual(
    warnings.map((warning) => warning.replace(/^.*?: /, '')),
    ['settings of the guest are not in the machine: size', 'of the product, Version are not in the machine'],
  );
});

test('of several configurations the default is taken, and ends of ranges are not', () => {
  const cpu = (count: number, attributes = '') =>
    item({ InstanceID: 1, ResourceType: 3, VirtualQuantity: count }, attributes);
  const { facts, warnings } = read(
    envelope({
      sections:
        '<DeploymentOptionSection><Info/><Configuration ovf:id="small"/><Configuration ovf:id="large" ovf:default="true"/></DeploymentOptionSection>',
      hardware: [
        cpu(1),
        cpu(2, 'ovf:configuration="small"'),
        cpu(8, 'ovf:configuration="medium large"'),
        cpu(16, 'ovf:bound="max"'),
      ].join(''),
    }),
  );
  assert.equal(facts.cpuCount, 8);
  assert.match(warnings.join(), /of 2 configurations "large" is taken/);
});

const system = (id: string) =>
  `<VirtualSystem ovf:id="${id}"><Info/><VirtualHardwareSection><Info/></VirtualHardwareSection></VirtualSystem>`;
const collection = envelope({}).replace(
  /<VirtualSystem [\s\S]*<\/VirtualSystem>/,
  `<VirtualSystemCollection ovf:id="all"><Info/><StartupSection><Info/></StartupSection>${system('web')}<VirtualSystemCollection ovf:id="inner">${system('db')}</VirtualSystemCollection></VirtualSystemCollection>`,
);

test('of several systems one has to be chosen by its name', () => {
  assert.throws(() => read(collection), { code: 'IMAGE_OPTION', hint: /web, db/ });
  const many = '<VirtualSystem ovf:id="x"/>'.repeat(5000);
  assert.throws(() => read(collection.replace(/(?=<VirtualSystem )/, many)), {
    code: 'IMAGE_OPTION',
    hint: 'choose one of them: x, x, x, x, x, x, x, x and 4994 more',
  });
  assert.throws(() => read(collection, { system: 'x' }), { code: 'IMAGE_OPTION', message: /no system "x"/ });
  const { facts, warnings } = read(collection, { system: 'db' });
  assert.equal(facts.name, 'db');
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? '', /order in which systems start/);
});

const disk = (attributes: string, file = '') => ({
  references: `<File ovf:id="f" ovf:href="d.vmdk" ${file}/>`,
  disks: `<Disk ovf:diskId="d" ovf:fileRef="f" ${attributes}/>`,
  hardware: item({ InstanceID: 2, ResourceType: 17, HostResource: 'ovf:/disk/d' }),
});

const refused: Readonly<Record<string, readonly [text: string, code: string]>> = {
  'another root': ['<domain/>', 'IMAGE_MALFORMED'],
  'a DTD': [`<!DOCTYPE x>${envelope({}).slice(39)}`, 'IMAGE_MALFORMED'],
  'no system': ['<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"/>', 'IMAGE_MALFORMED'],
  'OVF 0.9': ['<Envelope><Section/><Content/></Envelope>', 'IMAGE_UNSUPPORTED'],
  'a section that has to be understood': [
    envelope({ sections: '<x:Extra xmlns:x="urn:x" ovf:required="true"/>' }),
    'IMAGE_UNSUPPORTED',
  ],
  'a setting that has to be understood': [
    envelope({ hardware: '<vmw:Config ovf:required="true" vmw:key="k" vmw:value="v"/>' }),
    'IMAGE_UNSUPPORTED',
  ],
  'encrypted files': [
    envelope({ sections: '<EncryptionSection><Info/></EncryptionSection>' }),
    'IMAGE_UNSUPPORTED',
  ],
  'a difference to another disk': [envelope(disk('ovf:parentRef="e"')), 'IMAGE_UNSUPPORTED'],
  'a compressed file': [envelope(disk('', 'ovf:compression="gzip"')), 'IMAGE_UNSUPPORTED'],
  'a file in chunks': [envelope(disk('', 'ovf:chunkSize="100"')), 'IMAGE_UNSUPPORTED'],
  'a file elsewhere': [
    envelope(disk('')).replace('d.vmdk', 'https://example.org/d.vmdk'),
    'IMAGE_UNSUPPORTED',
  ],
  'a size that is none': [envelope(disk('ovf:capacity="1e9"')), 'IMAGE_MALFORMED'],
  'a size above all': [
    envelope(disk('ovf:capacity="9" ovf:capacityAllocationUnits="byte * 2^90"')),
    'IMAGE_MALFORMED',
  ],
  'a disk in no file': [envelope(disk('')).replace('ovf:id="f"', 'ovf:id="g"'), 'IMAGE_MALFORMED'],
  'an item of no disk': [envelope(disk('')).replace('/disk/d', '/disk/x'), 'IMAGE_MALFORMED'],
  'a file twice': [
    envelope({ references: '<File ovf:id="f" ovf:href="a"/><File ovf:id="f" ovf:href="b"/>' }),
    'IMAGE_MALFORMED',
  ],
  'memory of an unknown unit': [
    envelope({
      hardware: item({ InstanceID: 1, ResourceType: 4, VirtualQuantity: 1, AllocationUnits: 'parsec' }),
    }),
    'IMAGE_MALFORMED',
  ],
  'no CPU': [
    envelope({ hardware: item({ InstanceID: 1, ResourceType: 3, VirtualQuantity: 0 }) }),
    'IMAGE_MALFORMED',
  ],
  'an item of no type': [envelope({ hardware: item({ InstanceID: 1 }) }), 'IMAGE_MALFORMED'],
  'too many items': [
    envelope({ hardware: item({ InstanceID: 1, ResourceType: 3 }).repeat(3000) }),
    'IMAGE_LIMIT',
  ],
};

for (const [what, [text, code]] of Object.entries(refused)) {
  test(`a descriptor with ${what} is refused at its place`, () => {
    assert.throws(() => read(text), { name: 'ImageError', code, message: /^web\.ovf:\d+:\d+: / });
  });
}

test('names that every object has mean nothing', () => {
  const word = 'constructor';
  const { facts } = read(
    envelope({
      ...disk(`ovf:format="${word}"`),
      hardware: `${item({ InstanceID: 1, ResourceType: 20, ResourceSubType: word })}
${item({ InstanceID: 2, ResourceType: 17, HostResource: 'ovf:/disk/d', Parent: 1 })}
${item({ InstanceID: 3, ResourceType: 10, ResourceSubType: word, Connection: word })}`,
    }).replace('d.vmdk', `d.${word}`),
  );
  assert.deepEqual(facts.disks, [{ role: 'system', device: 'disk', path: `d.${word}` }]);
  assert.deepEqual(facts.nics, [{ network: 'named', networkName: word }]);
});

test('units of bytes are those of DSP0004 and the old words', () => {
  assert.equal(bytesOfUnits('3', 'byte * 2^20'), 3 * 2 ** 20);
  assert.equal(bytesOfUnits('3', 'byte*10^9'), 3e9);
  assert.equal(bytesOfUnits('3', 'byte * 1024'), 3072);
  assert.equal(bytesOfUnits('3', 'MegaBytes'), 3 * 2 ** 20);
  assert.equal(bytesOfUnits('3', 'gb'), 3 * 2 ** 30);
  for (const [quantity, unit] of [
    ['3', 'furlong'],
    ['3', 'constructor'],
    ['-3', 'byte'],
    ['9007199254740993', 'byte'],
    ['1', ''],
  ] as const)
    assert.equal(bytesOfUnits(quantity, unit), undefined);
});

const machine = completeMachine({
  name: 'web & "more"',
  firmware: 'uefi',
  secureBoot: false,
  tpm: true,
  memoryBytes: 2 ** 32,
  guestOs: { name: 'Debian', version: '12' },
  disks: [
    {
      role: 'system',
      device: 'disk',
      path: 'root é.vmdk',
      format: 'vmdk',
      virtualSizeBytes: 2 ** 34,
      bus: 'scsi',
      bootOrder: 2,
      checksums: { sha256: 'ab' },
    },
    {
      role: 'user',
      device: 'cdrom',
      path: 'tools.iso',
      format: 'iso',
      bus: 'ide',
      readOnly: true,
      bootOrder: 1,
    },
    { role: 'scratch', device: 'disk', virtualSizeBytes: 2 ** 30, bus: 'nvme', format: 'vmdk' },
  ],
});

test('a machine of an appliance comes back whole, and the engine finds its disks', () => {
  const files = new Map([['root é.vmdk', { lengthBytes: 1234, virtualSizeBytes: 2 ** 34 }]]);
  const { text, losses } = writeOvf(machine, files);
  assert.deepEqual(losses, []);
  const { facts, warnings } = read(text);
  assert.deepEqual(warnings, []);
  assert.deepEqual(facts, { ...machine, nics: [{ network: 'nat', model: 'e1000' }] });
  const ovf = parseOvf(utf8.encode(text));
  assert.equal(ovf.firmware, 'efi');
  assert.deepEqual(
    ovf.disks.map(({ id, virtualSizeBytes, file }) => [id, virtualSizeBytes, file?.href, file?.lengthBytes]),
    [
      ['vmdisk1', 2 ** 34, 'root%20%C3%A9.vmdk', 1234],
      ['vmdisk2', 2 ** 30, undefined, undefined],
    ],
  );
});

test('what another program changed is not undone by what was known before', () => {
  const { text } = writeOvf({ ...machine, disks: machine.disks.map((each) => ({ ...each, uuid: 'abc' })) });
  const moved = text
    .replace('root%20%C3%A9.vmdk', 'other.vmdk')
    .replace('<rasd:Connection>NAT<', '<rasd:Connection>lab<')
    .replace('vmw:osType="debian10_64Guest"', 'vmw:osType="ubuntu64Guest"');
  const { facts } = read(moved);
  assert.deepEqual(facts.nics, [{ network: 'named', networkName: 'lab', model: 'e1000' }]);
  assert.equal(facts.disks?.[0]?.checksums, undefined);
  assert.equal(facts.disks?.[0]?.uuid, undefined);
  assert.deepEqual(facts.guestOs, { name: 'Ubuntu' });
});

test('what is said of an item twice counts as it is said first', () => {
  const text = envelope({
    ...disk(''),
    hardware: `${item({ InstanceID: 2, ResourceType: 17, HostResource: 'ovf:/disk/d' })}
${item({ InstanceID: 3, ResourceType: 15 })}`,
    system: `<vmw:BootOrderSection vmw:instanceId="3 2 3"/>
<g:MachineSection xmlns:g="urn:gantry:ovf:machine:1"><g:Disk target="sdx"/><g:Disk item="2" target="sda"/>
<g:Disk item="2" target="sdb"/></g:MachineSection>`,
  });
  assert.deepEqual(
    read(text).facts.disks?.map(({ bootOrder, target }) => [bootOrder, target]),
    [
      [2, 'sda'],
      [1, undefined],
    ],
  );
});

test('what cannot be imported is refused before it is written', () => {
  const [root] = machine.disks;
  assert.ok(root);
  const { virtualSizeBytes: _, ...sizeless } = root;
  for (const bad of [
    { ...root, path: '/abs.vmdk' },
    { ...root, path: '../up.vmdk' },
    { ...root, path: 'http://x/y' },
    sizeless,
  ])
    assert.throws(() => writeOvf({ ...machine, disks: [bad] }), { code: 'IMAGE_OPTION' });
  const many = (count: number, more: Partial<MachineDisk>) => ({
    ...machine,
    disks: Array.from({ length: count }, (_, i): MachineDisk => ({ ...root, path: `${i}`, ...more })),
  });
  assert.throws(() => writeOvf(many(5, { bus: 'ide' })), { code: 'IMAGE_OPTION', message: /more than 4/ });
  const { facts } = read(writeOvf(many(20, { bus: 'scsi' })).text);
  assert.deepEqual(
    facts.disks?.map(({ path }) => path),
    Array.from({ length: 20 }, (_, i) => String(i)),
  );
});

/** With paths beside a descriptor, and what the machines of the kit do not have. */
const described: fc.Arbitrary<Machine> = fc
  .tuple(
    machines,
    fc.record(
      {
        features: fc.record(
          { pae: fc.boolean(), acpi: fc.boolean(), apic: fc.boolean() },
          { requiredKeys: [] },
        ),
        kernel: fc.record(
          { path: fc.string({ minLength: 1 }), commandLine: fc.string() },
          { requiredKeys: ['path'] },
        ),
        bootloader: fc.constant('pygrub'),
        guestType: fc.constantFrom('hvm', 'xen'),
        targets: fc.array(fc.constantFrom('hda', 'sdb', 'vdc')),
      },
      { requiredKeys: [] },
    ),
  )
  .map(([from, { targets = [], ...more }]) => ({
    ...from,
    ...(more as Partial<Machine>),
    disks: from.disks.map(({ path, ...rest }, index): MachineDisk => {
      const target = targets[index];
      return {
        ...rest,
        ...(target !== undefined && { target }),
        checksums: { sha256: `0${index}` },
        ...(path !== undefined && { path: `${index}/${path.replaceAll(/[^\u0020-\ud7ff]|[\\:/]/gu, '_')}x` }),
      };
    }),
  }));

test('what is read of a written descriptor is the machine, but for what was told as lost', () => {
  let count = 0;
  /** As DSP8023 has it: each section begins with Info, and the properties of an item follow their names. */
  const requireOrder = (element: XmlElement): void => {
    const names = element.children.map(({ name }) => name);
    if (element.name.endsWith('Section')) assert.equal(names[0], 'Info', element.name);
    if (element.name === 'Item') assert.deepEqual(names, [...names].sort());
    for (const child of element.children) requireOrder(child);
  };
  fc.assert(
    fc.property(described, (from) => {
      const written = (() => {
        try {
          return writeOvf(from);
        } catch (error) {
          assert.ok(error instanceof ImageError, String(error));
          assert.match(error.message, /is not known|more than 4|more than 2/);
          return undefined;
        }
      })();
      if (written === undefined) return;
      count += 1;
      requireOrder(readXml(utf8.encode(written.text), { file: 'written', structure: 'test' }));
      const { facts, warnings } = read(written.text);
      assert.deepEqual(warnings, []);
      const lost = (field: string) => written.losses.some((loss) => loss.field === field);
      /** Every field that was there is there again, through all that the field holds. */
      const compare = (field: string, after: unknown, before: unknown): void => {
        if (before === undefined || lost(field)) return;
        if (Array.isArray(before)) {
          const kept = before
            .map((value, index) => ({ value, path: `${field}[${index}]` }))
            .filter(({ path }) => !lost(path));
          assert.equal((after as unknown[]).length, kept.length, field);
          for (const [at, { value, path }] of kept.entries()) compare(path, (after as unknown[])[at], value);
        } else if (typeof before === 'object' && before !== null) {
          for (const [name, value] of Object.entries(before))
            compare(`${field}.${name}`, (after as Record<string, unknown> | undefined)?.[name], value);
        } else assert.deepEqual(after ?? absent(field), before === '' ? undefined : before, field);
      };
      for (const field of Object.keys(from) as (keyof MachineFacts)[])
        compare(field, facts[field], from[field]);
    }),
    { numRuns: 300 },
  );
  assert.ok(count > 50, `${count}`);
});

/** What a field means that is not said. */
function absent(field: string): unknown {
  if (/(?:tpm|readOnly)$/.test(field)) return false;
  return field === 'guestType' ? 'hvm' : undefined;
}

test('a descriptor that is bent in any way is read, or refused by name', () => {
  const own = writeOvf(machine).text;
  const parts = fc.constantFrom(
    '',
    '0',
    '-1',
    '9'.repeat(20),
    'true',
    'ovf:/disk/',
    `\${x}`,
    '&#1;',
    '/',
    '"',
    '<',
    '>',
  );
  fc.assert(
    fc.property(
      fc.constantFrom(vmwareDescriptor, virtualBoxDescriptor, collection, own),
      fc.array(fc.tuple(fc.nat(20_000), fc.nat(40), parts), { minLength: 1, maxLength: 3 }),
      (whole, changes) => {
        let text = whole;
        for (const [at, length, part] of changes) {
          const from = at % text.length;
          text = text.slice(0, from) + part + text.slice(from + length);
        }
        try {
          read(text);
        } catch (error) {
          assert.ok(error instanceof ImageError, String(error));
        }
      },
    ),
    { numRuns: 1000 },
  );
});
