import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readVirtImage } from '../descriptors/virt-image/read.ts';
import { changed, fullDescriptorBytes } from '../descriptors/virt-image/virt-image.testkit.ts';
import { readCapabilities } from './capabilities.ts';
import type { HostGuest } from './host.ts';
import { chooseBoot, domainTypeOf } from './match.ts';
import { qemuHost } from './qemu.ts';

const capabilities = `<capabilities>
  <host><cpu><arch>x86_64</arch></cpu></host>
  <guest>
    <os_type>hvm</os_type>
    <arch name='i686'>
      <emulator>/usr/bin/qemu-system-i386</emulator>
      <domain type='qemu'/>
      <domain type='kvm'><emulator>/usr/bin/qemu-kvm</emulator></domain>
    </arch>
    <features><pae/><nonpae/><acpi default='on' toggle='yes'/><apic default='on' toggle='no'/></features>
  </guest>
  <guest>
    <os_type>hvm</os_type>
    <arch name='x86_64'><domain type='qemu'/></arch>
    <features><acpi default='off'/><apic default='on' toggle='no'/></features>
  </guest>
  <guest><os_type>exe</os_type><arch name='x86_64'><domain type='lxc'/></arch></guest>
</capabilities>`;

const host = readCapabilities(new TextEncoder().encode(capabilities));
const image = (from: string | RegExp = '<apic state="off"/>', to = '<apic/>') =>
  readVirtImage(changed(from, to)).image;

test('capabilities of libvirt say which guests a host runs and what they can switch', () => {
  assert.deepEqual(
    host.guests.map(({ type, architecture, domainTypes }) => [type, architecture, domainTypes]),
    [
      ['hvm', 'i686', ['qemu', 'kvm']],
      ['hvm', 'x86_64', ['qemu']],
      ['exe', 'x86_64', ['lxc']],
    ],
  );
  assert.deepEqual(
    [...(host.guests[0]?.features ?? [])],
    [
      ['pae', ['on', 'off']],
      ['acpi', ['on', 'off']],
      ['apic', ['on']],
    ],
  );
  assert.equal(host.guests[0]?.emulator, '/usr/bin/qemu-system-i386');
  assert.deepEqual(host.guests.map(domainTypeOf), ['kvm', 'qemu', 'lxc']);
  const other = new TextEncoder().encode('<domain/>');
  assert.throws(() => readCapabilities(other), { code: 'IMAGE_MALFORMED', message: /<capabilities>/ });
});

test('the first boot whose type, architecture and features fit is taken', () => {
  // acpi of x86_64 guests is off on this host, and cannot be switched.
  assert.throws(() => chooseBoot(image(), host), {
    code: 'IMAGE_UNSUPPORTED',
    message: /none of the boots fits/,
  });
  assert.equal(
    chooseBoot(image('<acpi/>\n          <apic state="off"/>', '<acpi state="off"/>'), host).index,
    1,
  );
  const both = readVirtImage(
    new TextEncoder().encode(
      new TextDecoder()
        .decode(changed('<acpi/>\n          <apic state="off"/>', '<acpi state="off"/>'))
        .replace('<boot type="xen">', '<boot type="hvm">'),
    ),
  ).image;
  assert.equal(chooseBoot(both, host).index, 0);
});

test('a feature that a host does not tell of is one that it has not', () => {
  const unknown = image('<acpi/>\n          <apic state="off"/>', '<acpi state="off"/><smm/>');
  assert.throws(() => chooseBoot(unknown, host), { code: 'IMAGE_UNSUPPORTED' });
});

test('a boot that is asked for is taken whatever its features, when the host runs its kind', () => {
  assert.equal(chooseBoot(image(), host, 1).index, 1);
  assert.throws(() => chooseBoot(image(), host, 0), {
    code: 'IMAGE_UNSUPPORTED',
    message: /no xen guests for i686, as boot 0/,
  });
  assert.throws(() => chooseBoot(image(), host, 3), {
    code: 'IMAGE_OPTION',
    message: /the boots are 0 to 2/,
  });
  assert.throws(() => chooseBoot({ ...image(), boots: [] }, host), {
    code: 'IMAGE_UNSUPPORTED',
    message: /there are none/,
  });
});

test('the installed QEMU runs hvm guests of x86 and lets every feature be switched', async () => {
  const installed = await qemuHost({ path: process.env.PATH ?? '' });
  const guest = installed.guests.find(({ architecture }) => architecture === 'x86_64') as HostGuest;
  assert.match(guest.emulator ?? '', /\/qemu-system-x86_64$/);
  assert.ok(guest.domainTypes.includes('qemu'));
  assert.deepEqual(guest.features.get('pae'), ['on', 'off']);
  assert.equal(chooseBoot(readVirtImage(fullDescriptorBytes).image, installed).index, 1);
  assert.deepEqual((await qemuHost({ path: '/nonexistent:' })).guests, []);
});
