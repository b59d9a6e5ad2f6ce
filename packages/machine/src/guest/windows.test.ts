import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diskOf, makeDisk, makeFat, makeNtfs, temporaryFolder } from './images.testkit.ts';
import { inspectGuest } from './inspect.ts';
import { grubEfi } from './machines.testkit.ts';
import { proposeLaunch } from './propose.ts';
import { windowsTree } from './windows.testkit.ts';

async function looked(bytes: Uint8Array) {
  const report = await inspectGuest(await diskOf(bytes));
  return { report, proposal: proposeLaunch(report), codes: report.findings.map(({ code }) => code) };
}

for (const args of [[], ['-c', '512'], ['-c', '65536'], ['-s', '4096', '-c', '4096']]) {
  test(`a Windows in an NTFS of mkntfs ${args.join(' ')} is told by its registry`, async (t) => {
    const folder = await temporaryFolder(t);
    const tree = await windowsTree(folder, { drivers: { viostor: 0, netkvm: 3 }, universal: 1 });
    const { report, proposal, codes } = await looked(await makeNtfs(folder, tree, args));
    assert.deepEqual(codes, []);
    const [system] = report.operatingSystems;
    assert.deepEqual(
      [system?.family, system?.name, system?.version],
      ['windows', 'Windows', 'Server 2022 Standard'],
    );
    assert.equal(system?.reason, 'the whole disk: SOFTWARE says Windows Server 2022 Standard, build 20348');
    assert.deepEqual(system?.windows, {
      build: '20348',
      drivers: [
        { name: 'viostor', hasFile: true, startType: 0 },
        { name: 'vioscsi', hasFile: false },
        { name: 'netkvm', hasFile: true, startType: 3 },
      ],
      clock: { holds: 'utc', controlSet: 'ControlSet002', valueType: 'REG_DWORD', value: 1 },
      isHibernated: false,
    });
    assert.equal(report.architecture?.value, 'x86_64');
    assert.deepEqual(
      [proposal.launchMode, proposal.warnings.filter((one) => /virtio|netkvm/.test(one))],
      ['PARAVIRTUALIZED', []],
    );
  });
}

test('a Windows without drivers, with a clock in local time and hibernated is warned about', async (t) => {
  const folder = await temporaryFolder(t);
  const files = { 'hiberfil.sys': 'HIBR and the rest' };
  const ntfs = await makeNtfs(
    folder,
    await windowsTree(folder, { product: 'Windows 10 Pro', build: '22631', files }),
  );
  const loader = await grubEfi(folder);
  const esp = {
    content: await makeFat(folder, {
      'EFI/Microsoft/Boot/bootmgfw.efi': loader,
      'EFI/Boot/bootx64.efi': loader,
    }),
    entry: 'type=U',
  };
  const disk = await makeDisk(folder, 'gpt', [
    esp,
    { content: ntfs, entry: 'type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7' },
  ]);
  const { report, proposal, codes } = await looked(disk);
  assert.equal(report.operatingSystems[0]?.version, '11 Pro');
  assert.deepEqual(codes.toSorted(), ['WINDOWS_CLOCK_LOCAL', 'WINDOWS_HIBERNATED']);
  assert.deepEqual(report.bootLoaders.map(({ name }) => name).toSorted(), [
    'Windows Boot Manager',
    'the fallback loader',
  ]);
  assert.deepEqual(proposal.launchOptions, {
    launchMode: 'CUSTOM',
    firmware: 'UEFI_64',
    bootVolumeType: 'IDE',
    networkType: 'E1000',
  });
  assert.match(
    proposal.warnings.join(),
    /INACCESSIBLE_BOOT_DEVICE: viostor.sys and vioscsi.sys are not there/,
  );
});
