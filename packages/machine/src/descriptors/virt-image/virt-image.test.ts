import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { HostGuest } from '../../host/host.ts';
import { machines } from '../../model.testkit.ts';
import type { Machine, MachineDisk } from '../../model.ts';
import type { VirtImage } from './image.ts';
import { lintVirtImage } from './lint.ts';
import { readVirtImageMachine, virtImageFacts } from './machine.ts';
import { readVirtImage } from './read.ts';
import { changed, fullDescriptor, fullDescriptorBytes } from './virt-image.testkit.ts';
import { virtImageText, writeVirtImage } from './write.ts';

const utf8 = new TextEncoder();
const read = (bytes: Uint8Array = fullDescriptorBytes): VirtImage => readVirtImage(bytes, 'vm.xml').image;

/** Without the places, which no other text has. */
function placeless(image: VirtImage): unknown {
  return JSON.parse(JSON.stringify(image, (key, value) => (key === 'place' ? undefined : value)));
}

function refusedWith(bytes: Uint8Array, message: RegExp | string): void {
  assert.throws(() => readVirtImage(bytes, 'vm.xml'), { code: 'IMAGE_MALFORMED', message });
}

test('a size of very many digits is judged in one go', () => {
  const size = (text: string) =>
    read(
      utf8.encode(`<image><name>a</name><domain><boot type="hvm"><guest><arch>i686</arch></guest>
<drive disk="a"/></boot></domain><storage><disk file="a" size="${text}"/></storage></image>`),
    );
  assert.equal(size('12.5e1').disks[0]?.sizeMib, 125);
  assert.equal(size('12.').disks[0]?.sizeMib, 12);
  assert.equal(size(`${'1'.repeat(900_000)}x`).disks[0]?.sizeMib, undefined);
});

test('of very many warnings the rest is counted, by lint too', () => {
  const disks = Array.from({ length: 1005 }, (_, index) => `<disk file="d${index}" size="0"/>`).join('');
  const text = `<image><name>a</name><domain><boot type="hvm"><guest><arch>i686</arch></guest>
<drive disk="d0"/></boot></domain><storage>${disks}</storage></image>`;
  const { warnings } = readVirtImage(utf8.encode(text), 'vm.xml');
  assert.deepEqual([warnings.length, warnings.at(-1)], [1001, 'vm.xml: 5 more warnings']);
  const messages = lintVirtImage(utf8.encode(text), 'vm.xml').map(({ message }) => message);
  assert.ok(messages.includes('5 more warnings'));
});

test('a descriptor is read with all that it says', () => {
  const image = read();
  assert.deepEqual(placeless(image), {
    name: 'harbour',
    version: '1.2',
    release: '3',
    label: 'Harbour crane',
    description: 'Lifts <things>',
    boots: [
      {
        type: 'xen',
        architecture: 'i686',
        features: { pae: 'on' },
        loader: 'pygrub',
        drives: [{ disk: 'root.raw', target: 'xvda' }, { disk: 'work' }],
      },
      {
        type: 'hvm',
        architecture: 'x86_64',
        features: { acpi: 'on', apic: 'off' },
        bootDevice: 'cdrom',
        drives: [{ disk: 'work' }, { disk: 'root.raw', target: 'hda' }, { disk: 'tools.iso' }],
      },
      {
        type: 'hvm',
        architecture: 'aarch64',
        features: {},
        kernel: 'boot/vmlinuz',
        initrd: 'boot/initrd.img',
        commandLine: 'console=ttyS0 quiet',
        drives: [{ disk: 'root.raw' }],
      },
    ],
    cpuCount: 2,
    memoryKib: 262144,
    interfaceCount: 2,
    hasGraphics: true,
    disks: [
      {
        id: 'root.raw',
        file: 'root.raw',
        use: 'system',
        format: 'raw',
        checksums: { sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' },
      },
      { id: 'work', file: 'work.qcow2', use: 'scratch', sizeMib: 300, format: 'qcow2', checksums: {} },
      { id: 'tools.iso', file: 'tools.iso', use: 'system', format: 'iso', checksums: {} },
    ],
  });
  assert.deepEqual(image.boots[1]?.drives[1]?.place, { line: 32, column: 7 });
});

test('what is written is what was read, text for text', () => {
  assert.equal(virtImageText(read()), fullDescriptor);
});

test('what old tools ignored is ignored, in any order', () => {
  const minimal = utf8.encode(`<image><storage><disk file="/a b" use="data" size=" 0.5 " bus="x"/></storage>
    <domain><devices><graphics port="1"/><memory unit="MiB"> 1_000 </memory></devices>
    <boot type="hvm"><os type="linux"/><drive disk="/a b"/><guest><os_type>hvm</os_type><arch>i386foo</arch></guest></boot>
    </domain></image>`);
  const image = read(minimal);
  assert.deepEqual(placeless(image), {
    boots: [{ type: 'hvm', architecture: 'i686', features: {}, drives: [{ disk: '/a b' }] }],
    memoryKib: 1000,
    interfaceCount: 0,
    hasGraphics: true,
    disks: [{ id: '/a b', file: '/a b', use: 'data', sizeMib: 0.5, format: 'raw', checksums: {} }],
  });
});

test('names of architectures are made one, and others stay', () => {
  for (const [written, architecture] of [
    ['i386', 'i686'],
    ['I586', 'i686'],
    ['amd64', 'x86_64'],
    ['ppc64le', 'ppc64le'],
  ] as const) {
    assert.equal(
      read(changed('<arch>i686</arch>', `<arch>${written}</arch>`)).boots[0]?.architecture,
      architecture,
    );
  }
});

test('a disk without a file gets the names that old tools gave it', () => {
  const bytes = changed('file="work.qcow2" id="work"', 'id="gone"');
  const withDrives = utf8.encode(
    new TextDecoder().decode(bytes).replaceAll('disk="work"', 'disk="disk1.img"'),
  );
  const { image, warnings } = readVirtImage(withDrives, 'vm.xml');
  assert.equal(image.disks[1]?.id, 'disk1.img');
  assert.equal(image.disks[1]?.file, 'disk2.img');
  assert.match(warnings.join(), /^vm\.xml:58:5: the disk names no file: disk2\.img is taken/);
});

test('each feature counts for itself, whichever stands last', () => {
  for (const children of ['<pae/><acpi state="off"/>', '<acpi state="off"/><pae state="on"/>']) {
    const image = read(changed('<pae/>', children));
    assert.deepEqual({ ...image.boots[0]?.features }, { pae: 'on', acpi: 'off' });
  }
});

test('what old tools refused is refused with its place', () => {
  refusedWith(changed('<image>', '<image xmlns="urn:x">'), /^vm\.xml:2:1: the root is .* urn:x/);
  refusedWith(utf8.encode('<domain/>'), /^vm\.xml:1:1: the root is <domain>/);
  refusedWith(utf8.encode('<image/>'), /one <domain>, and there are 0/);
  refusedWith(utf8.encode('<image><domain/><domain/></image>'), /^vm\.xml:1:17: .* there are 2/);
  refusedWith(changed('type="xen"', 'type="lxc"'), /^vm\.xml:7:11: .* not "lxc"/);
  refusedWith(changed('<arch>i686</arch>', '<arch/>'), /^vm\.xml:7:5: .*<arch>/);
  refusedWith(
    changed('</guest>', '<features/></guest>'),
    /^vm\.xml:13:7: the xen boot for i686 has a second <features>/,
  );
  refusedWith(changed('<pae/>', '<pae state="yes"/>'), /^vm\.xml:11:16: .*on or off.*"yes"/);
  refusedWith(changed('>pygrub<', '> pygrub <'), /^vm\.xml:15:9: .*" pygrub "/);
  refusedWith(changed('dev="cdrom"', 'dev="fd"'), /^vm\.xml:29:17: .*hd or cdrom.*"fd"/);
  refusedWith(changed('disk="root.raw" target="xvda"', 'disk="none"'), /^vm\.xml:17:14: .*"none"/);
  refusedWith(changed('>262144<', '>256M<'), /^vm\.xml:48:7: <memory> .*"256M"/);
  refusedWith(changed('>262144<', '>-4<'), /<memory> .*"-4"/);
  refusedWith(changed('format="raw"', 'format="RAW"'), /^vm\.xml:55:40: .* raw, iso, qcow, .*"RAW"/);
  refusedWith(
    changed('id="work"', 'id="root.raw"'),
    /^vm\.xml:58:5: the disk "work\.qcow2" is defined twice/,
  );
});

test('an odd size is told and not used', () => {
  const { image, warnings } = readVirtImage(changed('size="300"', 'size="big"'), 'vm.xml');
  assert.equal(image.disks[1]?.sizeMib, undefined);
  assert.match(warnings.join(), /^vm\.xml:58:53: the size "big"/);
});

test('a boot becomes a machine: sizes in bytes, targets in two passes, the disc first', () => {
  const { cpuCount, memoryBytes, disks, nics, graphics, features, foreign } = virtImageFacts(read(), {
    bootIndex: 1,
  });
  assert.deepEqual(
    { cpuCount, memoryBytes, graphics, features },
    {
      cpuCount: 2,
      memoryBytes: 256 * 2 ** 20,
      graphics: { kind: 'vnc' },
      features: { acpi: true, apic: false },
    },
  );
  assert.deepEqual(nics, [{ network: 'nat' }, { network: 'nat' }]);
  assert.deepEqual(foreign, { 'virt-image': { version: '1.2', release: '3' } });
  const checksums = { sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' };
  const expected: readonly MachineDisk[] = [
    {
      role: 'scratch',
      device: 'disk',
      path: 'work.qcow2',
      format: 'qcow2',
      virtualSizeBytes: 300 * 2 ** 20,
      bus: 'ide',
      target: 'hdb',
      bootOrder: 2,
    },
    { role: 'system', device: 'disk', path: 'root.raw', format: 'raw', bus: 'ide', target: 'hda', checksums },
    {
      role: 'system',
      device: 'cdrom',
      path: 'tools.iso',
      format: 'iso',
      bus: 'ide',
      target: 'hdc',
      bootOrder: 1,
      readOnly: true,
    },
  ];
  assert.deepEqual(disks, expected);
});

test('a guest of Xen has the bus of Xen, its loader, and no firmware that looks for disks', () => {
  const facts = virtImageFacts(read());
  assert.equal(facts.guestType, 'xen');
  assert.equal(facts.bootloader, 'pygrub');
  assert.deepEqual(
    facts.disks?.map(({ bus, target, bootOrder }) => [bus, target, bootOrder]),
    [
      ['xen', 'xvda', undefined],
      ['xen', 'xvdb', undefined],
    ],
  );
  const kernel = virtImageFacts(read(), { bootIndex: 2 });
  assert.deepEqual(kernel.kernel, {
    path: 'boot/vmlinuz',
    initrdPath: 'boot/initrd.img',
    commandLine: 'console=ttyS0 quiet',
  });
  assert.equal(kernel.disks?.[0]?.bootOrder, undefined);
});

test('features that a descriptor omits are those of the host, or off when that is wanted', () => {
  const guest: HostGuest = {
    type: 'hvm',
    architecture: 'x86_64',
    domainTypes: ['kvm'],
    features: new Map([
      ['pae', ['on', 'off']],
      ['acpi', ['on', 'off']],
      ['apic', ['on']],
    ]),
  };
  const image = read(changed('<acpi/>\n          <apic state="off"/>', ''));
  const features = (options: object) => virtImageFacts(image, { bootIndex: 1, ...options }).features;
  assert.equal(features({}), undefined);
  assert.deepEqual(features({ guest }), { pae: true });
  assert.deepEqual(features({ guest, omittedFeatures: 'off' }), { pae: false, acpi: false });
  assert.deepEqual(features({ omittedFeatures: 'off' }), { pae: false, acpi: false, apic: false });
});

test('targets that cannot be are refused with both places', () => {
  const twice = read(changed('<drive disk="tools.iso"/>', '<drive disk="tools.iso" target="hda"/>'));
  assert.throws(() => virtImageFacts(twice, { bootIndex: 1, file: 'vm.xml' }), {
    code: 'IMAGE_MALFORMED',
    message: 'vm.xml:33:7: the target "hda" is used twice, first at 32:7',
  });
  const many = '<drive disk="root.raw"/>'.repeat(5);
  const full = read(changed('<drive disk="tools.iso"/>', many));
  assert.throws(() => virtImageFacts(full, { bootIndex: 1 }), {
    code: 'IMAGE_MALFORMED',
    message: /all 4 names/,
  });
});

test('boots that are not there and architectures that are not known are refused', () => {
  assert.throws(() => virtImageFacts(read(), { bootIndex: 3 }), {
    code: 'IMAGE_OPTION',
    message: /the boots are 0 to 2/,
  });
  const vax = read(changed('<arch>i686</arch>', '<arch>vax</arch>'));
  assert.throws(() => virtImageFacts(vax), { code: 'IMAGE_UNSUPPORTED', message: /vax/ });
  assert.throws(() => readVirtImageMachine(utf8.encode('<image><domain/></image>')), {
    code: 'IMAGE_MALFORMED',
  });
});

test('read as a machine, the other boots are told', () => {
  const { facts, warnings } = readVirtImageMachine(fullDescriptorBytes, 'vm.xml');
  assert.equal(facts.guestType, 'xen');
  assert.deepEqual(warnings, ['vm.xml:20:5: this boot and those after it are not in the machine']);
});

test('a strict descriptor has no findings but what is unwise', () => {
  const findings = lintVirtImage(fullDescriptorBytes, 'vm.xml');
  assert.deepEqual(
    findings.map(({ severity, line, column, message }) => `${line}:${column} ${severity}: ${message}`),
    ['35:5 warning: readers do not agree what a guest gets that says nothing of <acpi>, <apic>'],
  );
});

test('lint names each fault with its place', () => {
  const faults: readonly (readonly [string, string, string])[] = [
    ['<name version="1.2"', '<name version="one"', '3:9 error: version is a version'],
    ['>harbour<', '>har bour<', '3:3 error: <name> is a name of the letters'],
    ['<label>', '<vendor/><label>', '4:3 error: <image> holds no <vendor>'],
    ['type="xen"', 'type="xen" id="1"', '7:22 error: <boot> has no attribute id'],
    ['<vcpu>2</vcpu>', '', '46:5 error: <devices> needs a <vcpu>'],
    ['<interface/>\n', '<vcpu>2</vcpu>\n', '49:7 error: <vcpu> has to stand before <memory>'],
    ['<pae/>', 'x<pae/>', '10:9 error: <features> holds elements only'],
    ['<loader>pygrub</loader>', '', '14:7 error: <os> holds either a <loader> or a <kernel>'],
    [
      '<loader>pygrub</loader>',
      '<loader>pygrub</loader><initrd>x</initrd>',
      '14:7 error: <initrd> and <cmdline>',
    ],
    ['>262144<', '>256<', '2:1 warning: <memory> is KiB: 256 of them are 0.25 MiB'],
    [
      'file="work.qcow2"',
      'file="a/../../work.qcow2"',
      '58:5 error: "a/../../work.qcow2" leads out of the folder',
    ],
    ['file="work.qcow2"', 'file="/work.qcow2"', '58:5 error: "/work.qcow2" is an absolute path'],
    ['use="scratch"', 'use="data"', '58:39 error: use is system, user or scratch'],
    ['size="300" ', '', '58:5 warning: a disk for scratch use without a size'],
    ['file="tools.iso" use="system"', 'file="tools.iso" use="user"', '59:5 warning: an iso is never made'],
    ['format="qcow2"', 'format="vhdx"', '58:5 warning: the format vhdx is known to Gantry'],
    ['type="sha256"', 'type="sha1"', '55:5 error: a sha1 has 40 hexadecimal digits, and not 64'],
    ['target="xvda"', 'target="xvdb"', ''],
    ['<drive disk="tools.iso"/>', '', '59:5 warning: no boot has the disk "tools.iso"'],
    ['<drive disk="tools.iso"/>', '<drive disk="work"/>', '33:7 error: the boot has the disk "work" twice'],
    [
      '<drive disk="tools.iso"/>',
      '<drive disk="tools.iso" target="hda"/>',
      '33:7 error: the target "hda" is used twice, first at 32:7',
    ],
    ['<loader dev="cdrom"/>', '<loader>pygrub</loader>', '20:5 warning: pygrub loads guests of Xen'],
    ['<arch>aarch64<', '<arch>vax<', '35:5 warning: the architecture "vax"'],
    ['<acpi/>', '<acpi/><smm/>', '24:18 error: <features> holds no <smm>'],
    ['boot/vmlinuz', '../vmlinuz', '35:5 error: "../vmlinuz" leads out'],
    ['disk="root.raw" target', 'disk="gone" target', '17:14 error: the drive is of the disk "gone"'],
  ];
  const before = lintVirtImage(fullDescriptorBytes).length;
  for (const [from, to, expected] of faults) {
    const found = lintVirtImage(changed(from, to), 'vm.xml').map(
      ({ severity, line, column, message }) => `${line}:${column} ${severity}: ${message}`,
    );
    if (expected === '') assert.equal(found.length, before, to);
    else
      assert.ok(
        found.some((line) => line.startsWith(expected)),
        `${to}: ${found.join('\n')}`,
      );
  }
});

test('elements and attributes of other namespaces are left alone', () => {
  const bytes = changed('<name version', '<name xmlns:g="urn:g" g:x="1" version');
  const text = new TextDecoder()
    .decode(bytes)
    .replace('<storage>', '<storage><g:disk xmlns:g="urn:g">x<y/></g:disk>');
  assert.deepEqual(lintVirtImage(utf8.encode(text)), lintVirtImage(fullDescriptorBytes));
});

test('whatever a machine is, what is written is strict, and what is read of it again is told as lost or as it was', () => {
  fc.assert(
    fc.property(machines, (machine) => {
      const disk: MachineDisk = {
        role: 'system',
        device: 'disk',
        path: 'root.raw',
        format: 'raw',
        bus: 'ide',
      };
      const whole: Machine = { ...machine, disks: [disk, ...machine.disks] };
      const { text, losses } = writeVirtImage(whole);
      const findings = lintVirtImage(utf8.encode(text), 'vm.xml').filter(
        ({ severity, message }) =>
          severity === 'error' && !/names of ide|leads out|is a folder/.test(message),
      );
      assert.deepEqual(findings, [], text);
      const { image } = readVirtImage(utf8.encode(text));
      const lost = new Set(losses.map(({ field }) => field));
      if (!lost.has('name')) assert.equal(image.name, whole.name);
      if (!lost.has('title')) assert.equal(image.label, whole.title || undefined);
      if (!lost.has('description')) assert.equal(image.description, whole.description || undefined);
      if (!lost.has('memoryBytes')) assert.equal(image.memoryKib, whole.memoryBytes / 1024);
      assert.equal(image.cpuCount, whole.cpuCount);
      assert.equal(image.interfaceCount, whole.nics.length);
      const kept = whole.disks.filter((_, index) => !lost.has(`disks[${index}]`));
      assert.deepEqual(
        image.disks.map(({ file, use }) => [file, use]),
        kept.map(({ path, role }) => [path, role]),
      );
    }),
  );
});

test('a machine that was read is written again without a loss', () => {
  for (const bootIndex of [0, 1, 2]) {
    const facts = virtImageFacts(read(), { bootIndex });
    const machine = { clock: 'utc', cpuCount: 1, memoryBytes: 1, ...facts } as Machine;
    const { text, losses } = writeVirtImage(machine);
    assert.deepEqual(
      losses.filter(({ field }) => !/bootOrder/.test(field)),
      [],
    );
    assert.deepEqual(virtImageFacts(readVirtImage(utf8.encode(text)).image), facts);
  }
});

test('a machine without a disk that can be said is refused', () => {
  const machine = {
    ...virtImageFacts(read()),
    clock: 'utc',
    disks: [{ role: 'system', device: 'disk' }],
  } as Machine;
  assert.throws(() => writeVirtImage(machine), { code: 'IMAGE_OPTION', message: /at least one disk/ });
});

test('a descriptor of the largest size, full of disks, drives and faults, is gone over once', () => {
  const count = 9000;
  const disks = Array.from({ length: count }, (_, index) => `<disk file="d${index}" size="x"/>`).join('');
  const drives = Array.from(
    { length: count },
    (_, index) => `<drive disk="d${index}" target="hd${index}"/>`,
  ).join('');
  const boot = `<boot type="hvm"><guest><arch>i686</arch></guest><os/>${drives}</boot>`;
  const bytes = utf8.encode(`<image><domain>${boot}</domain><storage>${disks}</storage></image>`);
  assert.equal(readVirtImage(bytes).image.disks.length, count);
  assert.ok(lintVirtImage(bytes).length > 2 * count);
  assert.equal(virtImageFacts(readVirtImage(bytes).image).disks?.length, count);
});
