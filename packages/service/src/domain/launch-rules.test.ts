import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hardwareCompatibility } from './hardware-compatibility.ts';
import { launchOf, requireExportable, requireSize, requireVirtualShape } from './launch-rules.ts';
import { parseShapes, requireShape, shapeConfigOf } from './shapes.ts';

const invalid = { code: 'INVALID' };
const asked = { format: 'qcow2', operatingSystem: '', firmware: 'BIOS' } as const;

test('a mode stands for its devices, with the firmware that the disk seems to need', () => {
  assert.deepEqual(launchOf({ ...asked, firmware: 'UEFI_64' }), {
    launchMode: 'PARAVIRTUALIZED',
    firmware: 'UEFI_64',
    networkType: 'PARAVIRTUALIZED',
    bootVolumeType: 'PARAVIRTUALIZED',
    remoteDataVolumeType: 'PARAVIRTUALIZED',
    localDataVolumeType: 'PARAVIRTUALIZED',
    pvAttachmentVersion: 2,
    isPvEncryptionInTransitEnabled: false,
    isConsistentVolumeNamingEnabled: true,
  });
  assert.equal(launchOf({ ...asked, launchMode: 'NATIVE' }).networkType, 'VFIO');
  const launchOptions = { firmware: 'BIOS', networkType: 'E1000' } as const;
  const custom = launchOf({ ...asked, firmware: 'UEFI_64', launchMode: 'CUSTOM', launchOptions });
  assert.deepEqual([custom.firmware, custom.networkType, custom.launchMode], ['BIOS', 'E1000', 'CUSTOM']);
});

test('an archive decides, with words that are not known kept as they are', () => {
  const archived = { launchMode: 'QUANTUM', firmware: 'COREBOOT' };
  assert.deepEqual(launchOf({ ...asked, format: 'oci', archived }), archived);
  assert.throws(() => launchOf({ ...asked, format: 'oci', archived, launchMode: 'NATIVE' }), invalid);
});

test('what the rules forbid is refused', () => {
  for (const request of [
    { launchMode: 'NATIVE', format: 'vmdk' },
    { launchMode: 'CUSTOM' },
    { launchMode: 'EMULATED', launchOptions: { firmware: 'BIOS' } },
    { launchMode: 'EMULATED', operatingSystem: 'Windows' },
    { launchMode: 'NATIVE', operatingSystem: 'Oracle Linux Cloud Developer' },
    { launchMode: 'EMULATED', operatingSystem: 'RHEL' },
  ] as const) {
    assert.throws(() => launchOf({ ...asked, ...request }), invalid, JSON.stringify(request));
  }
  assert.throws(() => requireSize(11, 10), { code: 'TOO_LARGE' });
  requireSize(10, 10);
  assert.throws(() => requireExportable(['platform']), invalid);
  assert.throws(() => requireExportable(['marketplace']), invalid);
  assert.throws(() => requireExportable(['custom', 'custom', 'marketplace']), invalid);
  requireExportable(['custom', 'platform']);
  assert.throws(() => requireVirtualShape('BM.Standard.E4.128', true), invalid);
  requireVirtualShape('BM.Standard.E4.128', false);
});

test('the table of older hosts is answered for the systems that it has', () => {
  const of = (name: string, version?: string) => {
    const { x5OnX7, x6Elsewhere } = hardwareCompatibility({ name, ...(version && { version }) });
    return [x5OnX7, x6Elsewhere];
  };
  assert.deepEqual(of('Windows', 'Server 2022 Standard'), ['no', 'no']);
  assert.deepEqual(of('Oracle Autonomous Linux', '7.9'), ['yes', 'yes']);
  assert.deepEqual(of('Oracle Linux', '6.10'), ['kernel', 'no']);
  assert.deepEqual(of('Oracle Linux', '9'), ['kernel', 'unknown']);
  assert.deepEqual(of('CentOS Stream', '8'), ['kernel', 'no']);
  assert.deepEqual(of('Canonical Ubuntu', '22.04'), ['kernel', 'yes']);
  assert.deepEqual(of('Debian', '13'), ['unknown', 'unknown']);
});

test('a shape gives what it has: a fixed one always the same, a flexible one within its bounds', () => {
  const list = '[{"name": "fixed", "architecture": "x86_64", "ocpus": 2, "memoryInGBs": 15}]';
  const shape = requireShape(parseShapes(list), 'fixed');
  for (const text of ['', '[]', '{}', '[{"name": "a"}]']) assert.throws(() => parseShapes(text), invalid);
  assert.deepEqual(shapeConfigOf(shape, {}), { ocpus: 2, memoryInGBs: 15 });
  assert.throws(() => shapeConfigOf(shape, { ocpus: 3 }), invalid);
  const flexible = { ocpusMax: 8, memoryMaxInGBs: 64, memoryPerOcpuMaxInGBs: 16 };
  const flex = { name: 'flex', architecture: 'x86_64', ocpus: 1, memoryInGBs: 16, flexible } as const;
  assert.deepEqual(shapeConfigOf(flex, { ocpus: 2 }), { ocpus: 2, memoryInGBs: 32 });
  assert.deepEqual(shapeConfigOf(flex, { ocpus: 8 }), { ocpus: 8, memoryInGBs: 64 });
  for (const config of [{ ocpus: 9 }, { ocpus: 1, memoryInGBs: 17 }, { ocpus: 0 }])
    assert.throws(() => shapeConfigOf(flex, config), invalid);
  assert.throws(() => requireShape([], 'fixed'), invalid);
});
