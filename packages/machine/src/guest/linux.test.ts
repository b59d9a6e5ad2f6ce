import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diskOf, makeDisk, makeExt, temporaryFolder } from './images.testkit.ts';
import { inspectGuest } from './inspect.ts';
import { linuxDisk, linuxTree, ROOT_UUID } from './machines.testkit.ts';
import { proposeLaunch } from './propose.ts';

async function looked(bytes: Uint8Array) {
  const report = await inspectGuest(await diskOf(bytes));
  return { report, proposal: proposeLaunch(report), codes: report.findings.map(({ code }) => code) };
}

test('a Debian that starts by BIOS and by UEFI is told with its reasons', async (t) => {
  const { report, proposal, codes } = await looked(await linuxDisk(await temporaryFolder(t)));
  assert.deepEqual(codes, []);
  assert.deepEqual(
    report.fileSystems.map(({ where, kind, isRead }) => [where, kind, isRead]),
    [
      ['partition 2', 'fat32', true],
      ['partition 3', 'ext4', true],
    ],
  );
  const [system] = report.operatingSystems;
  assert.deepEqual(
    [system?.family, system?.name, system?.version, system?.id, system?.where],
    ['linux', 'Debian GNU/Linux', '12', 'debian', 'partition 3'],
  );
  assert.match(
    system?.reason ?? '',
    /^partition 3: \/etc\/os-release says Debian GNU\/Linux 12 \(bookworm\)$/,
  );
  assert.deepEqual(report.architecture, {
    value: 'x86_64',
    reason: 'partition 3: /bin/sh is a program for x86_64',
  });
  assert.equal(system?.linux?.hasCloudInit, true);
  assert.deepEqual(system?.linux?.mounts, [
    { path: '/', device: `UUID=${ROOT_UUID}`, type: 'ext4', where: 'partition 3' },
  ]);
  assert.deepEqual(
    system?.linux?.kernels.map(({ version }) => version),
    ['6.1.0-18-amd64', '5.10.0-9-amd64'],
  );
  const drivers = system?.linux?.kernels[0]?.drivers;
  assert.deepEqual(
    [
      drivers?.virtio_pci.value,
      drivers?.virtio_blk.value,
      drivers?.virtio_scsi.value,
      drivers?.virtio_net.value,
    ],
    ['initramfs', 'initramfs', 'initramfs', 'module'],
  );
  assert.deepEqual(report.firmware, {
    bios: {
      boots: 'yes',
      reasons: ['GRUB is in the first sector, which goes on in the BIOS boot partition 1'],
    },
    uefi: { boots: 'yes', reasons: ['partition 2: /EFI/BOOT/BOOTX64.EFI is there'] },
  });
  assert.deepEqual(report.bootLoaders.map(({ name }) => name).toSorted(), [
    'GRUB',
    'grubx64.efi of debian',
    'the fallback loader',
  ]);
  assert.deepEqual(
    [proposal.boots, proposal.firmware, proposal.launchMode, proposal.warnings],
    ['yes', 'uefi', 'PARAVIRTUALIZED', []],
  );
  assert.deepEqual(proposal.launchOptions, { launchMode: 'PARAVIRTUALIZED', firmware: 'UEFI_64' });
  assert.deepEqual(proposal.guestOs, { family: 'linux', name: 'Debian GNU/Linux', version: '12' });
});

test('firmware is proposed by what it would find', async (t) => {
  const folder = await temporaryFolder(t);
  const bios = await looked(await linuxDisk(folder, { firmware: 'bios' }));
  assert.deepEqual([bios.proposal.boots, bios.proposal.firmware], ['yes', 'bios']);
  assert.match(bios.report.firmware.uefi.reasons[0] ?? '', /holds no boot loader/);
  const vendor = await looked(await linuxDisk(folder, { firmware: 'vendor' }));
  assert.deepEqual([vendor.proposal.boots, vendor.proposal.firmware], ['no', 'uefi']);
  assert.deepEqual(vendor.codes, ['NO_FALLBACK_LOADER']);
  const none = await looked(await linuxDisk(folder, { firmware: 'none' }));
  assert.equal(none.proposal.boots, 'no');
  assert.match(
    none.proposal.warnings[0] ?? '',
    /a BIOS does not start it: the first sector holds no boot code/,
  );
  const lost = await linuxDisk(folder, { firmware: 'bios' });
  lost.fill(0, 1024 * 1024, 1024 * 1024 + 4096);
  assert.match(
    (await looked(lost)).report.firmware.bios.reasons[0] ?? '',
    /where it goes on, at byte 1048576, there is nothing/,
  );
});

const packings: readonly string[] = ['gzip -c', 'zstd -q -c', 'xz --check=crc32 -c', 'lz4 -l -q -c', 'cat'];

test('an initramfs is read however it is compressed, behind microcode and without', async (t) => {
  const folder = await temporaryFolder(t);
  for (const compress of packings) {
    for (const hasMicrocode of [true, false]) {
      const { report } = await looked(
        await makeExt(folder, await linuxTree(folder, { compress, hasMicrocode })),
      );
      const drivers = report.operatingSystems[0]?.linux?.kernels[0]?.drivers;
      assert.deepEqual(
        drivers?.virtio_blk,
        { value: 'initramfs', reason: 'it is in /boot/initrd.img-6.1.0-18-amd64' },
        `${compress} ${hasMicrocode}`,
      );
    }
  }
  const { report } = await looked(await makeExt(folder, await linuxTree(folder, { compress: 'bzip2 -c' })));
  const drivers = report.operatingSystems[0]?.linux?.kernels[0]?.drivers;
  assert.equal(drivers?.virtio_blk.value, 'unknown');
  assert.match(drivers?.virtio_blk.reason ?? '', /compressed with bzip2, which is not read/);
});

test('a kernel that has virtio only behind its root is launched with emulated devices, with a warning', async (t) => {
  const folder = await temporaryFolder(t);
  const without = await looked(await linuxDisk(folder, { modules: ['ahci', 'virtio-pci'] }));
  assert.equal(without.proposal.launchMode, 'EMULATED');
  assert.match(
    without.proposal.warnings.join(),
    /has no virtio_blk when it mounts its root: it is not in \/boot\/initrd/,
  );
  const builtIn = await looked(
    await linuxDisk(folder, {
      modules: [],
      configuration:
        'CONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_BLK=y\n# CONFIG_SCSI_VIRTIO is not set\nCONFIG_VIRTIO_NET=y\n',
    }),
  );
  const drivers = builtIn.report.operatingSystems[0]?.linux?.kernels[0]?.drivers;
  assert.deepEqual(
    [drivers?.virtio_pci.value, drivers?.virtio_blk.value, drivers?.virtio_net.value],
    ['built-in', 'built-in', 'built-in'],
  );
  assert.equal(builtIn.proposal.launchMode, 'PARAVIRTUALIZED');
  assert.match(builtIn.proposal.warnings.join(), /attach the disk by virtio_blk/);
});

test('boot files in a partition of their own are found by fstab, and without the root too', async (t) => {
  const folder = await temporaryFolder(t);
  const tree = await linuxTree(folder);
  const isBoot = (path: string) => path.startsWith('boot/');
  const bootTree = Object.fromEntries(
    Object.entries(tree)
      .filter(([path]) => isBoot(path))
      .map(([path, content]) => [path.slice(5), content]),
  );
  const rootTree = Object.fromEntries(Object.entries(tree).filter(([path]) => !isBoot(path)));
  const fstab =
    'LABEL=boot /boot ext2 defaults 0 2\nUUID=00000000-0000-0000-0000-00000000dead /data xfs defaults 0 0\n/dev/sdb1 /old ext4 defaults 0 0\n/dev/disk/by-path/pci-0 /slot ext4 nofail 0 0\n';
  const boot = {
    content: await makeExt(folder, bootTree, ['-t', 'ext2', '-L', 'boot']),
    entry: 'type=83, bootable',
  };
  const root = {
    content: await makeExt(folder, { ...rootTree, 'etc/fstab': fstab, 'boot/': '' }),
    entry: 'type=83',
  };
  const { report, codes } = await looked(await makeDisk(folder, 'dos', [boot, root]));
  assert.equal(report.operatingSystems[0]?.linux?.kernels[0]?.drivers?.virtio_blk.value, 'initramfs');
  assert.deepEqual(codes.toSorted(), ['FSTAB_DEVICE_NAME', 'FSTAB_DEVICE_PATH', 'MOUNT_NOT_ON_DISK']);
  const alone = await looked(await makeDisk(folder, 'dos', [boot]));
  assert.deepEqual(alone.report.operatingSystems, []);
  assert.equal(alone.report.kernels[0]?.drivers?.virtio_scsi.value, 'initramfs');
});

test('networks that are bound to a card and roots named by device are told', async (t) => {
  const folder = await temporaryFolder(t);
  const files = {
    'etc/udev/rules.d/70-persistent-net.rules':
      'SUBSYSTEM=="net", ATTR{address}=="00:16:3e:11:22:33", NAME="eth0"\n',
    'etc/netplan/50-cloud-init.yaml':
      'network:\n  ethernets:\n    enp0s3:\n      match:\n        macaddress: "52:54:00:aa:bb:cc"\n',
    'etc/network/interfaces': 'auto lo\niface lo inet loopback\niface eth0 inet dhcp\n',
    'etc/sysconfig/network-scripts/ifcfg-ens3': 'DEVICE=ens3\nHWADDR=52:54:00:00:00:01\n',
    'boot/grub/grub.cfg': 'linux /boot/vmlinuz root=/dev/sda1 ro\n',
  };
  const { report, codes } = await looked(
    await makeExt(folder, await linuxTree(folder, { files }), ['-U', ROOT_UUID]),
  );
  assert.deepEqual(
    report.operatingSystems[0]?.linux?.networkBindings.map(({ kind, value }) => `${kind} ${value}`),
    [
      'mac 00:16:3e:11:22:33',
      'mac 52:54:00:00:00:01',
      'name ens3',
      'mac 52:54:00:aa:bb:cc',
      'name enp0s3',
      'name eth0',
    ],
  );
  assert.deepEqual([...new Set(codes)].toSorted(), [
    'NETWORK_BOUND_TO_MAC',
    'NETWORK_BOUND_TO_NAME',
    'ROOT_DEVICE_NAME',
  ]);
});

test('an inspection ends at its limits with what was found, and at once when it is aborted', async (t) => {
  const bytes = await linuxDisk(await temporaryFolder(t));
  for (const limits of [{ steps: 5 }, { readBytes: 200_000 }, { timeMs: -1 }]) {
    const report = await inspectGuest(await diskOf(bytes), { limits });
    assert.ok(
      report.findings.some(({ code }) => code === 'INSPECTION_LIMIT'),
      JSON.stringify(limits),
    );
  }
  const reason = new Error('enough');
  await assert.rejects(inspectGuest(await diskOf(bytes), { signal: AbortSignal.abort(reason) }), reason);
});
