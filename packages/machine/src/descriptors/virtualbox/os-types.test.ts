import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Architecture, GuestOs } from '../../model.ts';
import { osTypeOf } from './os-types.ts';

test('systems get the id that VirtualBox has for them, and others that of their family', () => {
  const cases: readonly (readonly [GuestOs, Architecture, string])[] = [
    [{ name: 'Oracle Linux', version: '9' }, 'x86_64', 'Oracle_64'],
    [{ name: 'Oracle Linux Cloud Developer', version: '8' }, 'aarch64', 'Oracle_arm64'],
    [{ name: 'Oracle Autonomous Linux', version: '7.9' }, 'x86_64', 'Oracle_64'],
    [{ name: 'Canonical Ubuntu', version: '24.04' }, 'aarch64', 'Ubuntu_arm64'],
    [{ name: 'Ubuntu', version: '6.06' }, 'i686', 'Ubuntu'],
    [{ name: 'CentOS', version: '7' }, 'x86_64', 'RedHat_64'],
    [{ name: 'Rocky Linux', version: '9' }, 'aarch64', 'Oracle_arm64'],
    [{ name: 'Debian', version: '13' }, 'x86_64', 'Debian_64'],
    [{ name: 'Windows', version: 'Server 2022 Standard' }, 'x86_64', 'Windows2022_64'],
    [{ name: 'Windows Server 2012 R2' }, 'x86_64', 'Windows2012_64'],
    [{ name: 'Windows', version: '10' }, 'i686', 'Windows10'],
    [{ name: 'Windows', version: 'NT 4' }, 'x86_64', 'WindowsNT_64'],
    [{ name: 'Talos', version: '1.13' }, 'x86_64', 'Linux26_64'],
    [{ name: 'FreeBSD', version: '14' }, 'x86_64', 'FreeBSD_64'],
    [{ name: 'OmniOS' }, 'x86_64', 'OpenSolaris_64'],
    [{ name: 'Solaris', version: '11.4' }, 'x86_64', 'Solaris11_64'],
    [{ family: 'linux', name: 'Custom', version: 'Custom' }, 'x86_64', 'Linux26_64'],
    [{ name: 'Custom', version: 'Custom' }, 'x86_64', 'Other_64'],
    [{}, 'i686', 'Other'],
  ];
  for (const [guestOs, architecture, id] of cases)
    assert.equal(osTypeOf(guestOs, architecture)?.id, id, JSON.stringify(guestOs));
  assert.equal(osTypeOf({ name: 'Debian' }, 'riscv64'), undefined);
});

test('how much of a system an id tells is said', () => {
  const tells = (guestOs: GuestOs) => osTypeOf(guestOs, 'x86_64')?.tells;
  assert.equal(tells({ name: 'Windows', version: '2019' }), 'version');
  assert.equal(tells({ name: 'Windows', version: 'Server 2022 Standard' }), 'name');
  assert.equal(tells({ name: 'Windows', version: '2025' }), 'name');
  assert.equal(tells({ name: 'Debian', version: '12' }), 'name');
  assert.equal(tells({ name: 'Rocky Linux', version: '9' }), 'family');
  assert.equal(tells({ name: 'Alpine Linux' }), 'family');
});
