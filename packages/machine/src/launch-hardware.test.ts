import assert from 'node:assert/strict';
import { test } from 'node:test';
import { launchHardware } from './launch-hardware.ts';

test('the devices are what the launch options say, and otherwise what their mode stands for', () => {
  assert.deepEqual(launchHardware(), {
    firmware: 'bios',
    bootDiskBus: 'virtio',
    dataDiskBus: 'virtio',
    nicModel: 'virtio',
  });
  const emulated = { launchMode: 'EMULATED', firmware: 'UEFI_64' };
  assert.deepEqual(launchHardware(emulated), {
    firmware: 'uefi',
    bootDiskBus: 'sata',
    dataDiskBus: 'sata',
    nicModel: 'e1000',
  });
  const chosen = {
    launchMode: 'CUSTOM',
    bootVolumeType: 'IDE',
    remoteDataVolumeType: 'ISCSI',
    networkType: 'E1000',
  };
  assert.deepEqual(launchHardware(chosen), {
    firmware: 'bios',
    bootDiskBus: 'ide',
    dataDiskBus: 'virtio',
    nicModel: 'e1000',
  });
  // A word that OCI adds one day.
  assert.equal(launchHardware({ bootVolumeType: 'NVME' }).bootDiskBus, 'virtio');
});
