import assert from 'node:assert/strict';
import { test } from 'node:test';
import { completeMachine } from './complete.ts';
import { readOciMetadata } from './descriptors/oci-metadata/read.ts';
import { writeVirtualBoxSettings } from './descriptors/virtualbox/settings.ts';

test('what a descriptor leaves open is as most images want it', () => {
  assert.deepEqual(completeMachine({ name: 'web', cpuCount: 4 }), {
    name: 'web',
    architecture: 'x86_64',
    firmware: 'bios',
    cpuCount: 4,
    memoryBytes: 2 ** 31,
    clock: 'utc',
    disks: [],
    nics: [{ network: 'nat' }],
  });
});

test('a machine without a name, CPUs or memory is refused', () => {
  for (const facts of [{}, { name: '' }, { name: 'x', cpuCount: 0 }, { name: 'x', memoryBytes: 0.5 }])
    assert.throws(() => completeMachine(facts), { code: 'IMAGE_OPTION' });
});

test('an image of OCI that starts with UEFI becomes a machine of VirtualBox that does', () => {
  const { facts } = readOciMetadata(
    JSON.stringify({ version: 2, externalLaunchOptions: { firmware: 'UEFI_64' }, operatingSystem: 'Ubuntu' }),
  );
  const { text } = writeVirtualBoxSettings(completeMachine({ ...facts, name: 'web' }));
  assert.match(text, /<Firmware type="EFI"\/>/);
  assert.match(text, /OSType="Ubuntu_64"/);
});
