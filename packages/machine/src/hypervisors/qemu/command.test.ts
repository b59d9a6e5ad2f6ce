import assert from 'node:assert/strict';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { completeMachine } from '../../complete.ts';
import { virtImageFacts } from '../../descriptors/virt-image/machine.ts';
import { readVirtImage } from '../../descriptors/virt-image/read.ts';
import { fullDescriptorBytes } from '../../descriptors/virt-image/virt-image.testkit.ts';
import { machines } from '../../model.testkit.ts';
import type { Machine } from '../../model.ts';
import { qemuCommand } from './command.ts';
import { startMachine } from './run.ts';

const { image } = readVirtImage(fullDescriptorBytes);
const crane: Machine = completeMachine(virtImageFacts(image, { bootIndex: 1 }));

test('a boot of a virt-image becomes this command', () => {
  const { program, args, losses } = qemuCommand(crane, { accelerator: 'kvm', serial: 'stdout' });
  assert.equal(program, 'qemu-system-x86_64');
  assert.deepEqual(args, [
    ...['-nodefaults', '-no-user-config', '-name', 'guest=harbour', '-machine', 'pc,accel=kvm,acpi=on'],
    ...['-cpu', 'host,apic=off', '-smp', '2', '-m', '262144k', '-rtc', 'base=utc', '-boot', 'strict=on'],
    ...['-device', 'VGA', '-display', 'vnc=127.0.0.1:0,to=99'],
    ...[
      '-netdev',
      '{"type":"user","id":"net0"}',
      '-device',
      '{"driver":"e1000","netdev":"net0","romfile":""}',
    ],
    ...[
      '-netdev',
      '{"type":"user","id":"net1"}',
      '-device',
      '{"driver":"e1000","netdev":"net1","romfile":""}',
    ],
    ...['-chardev', 'stdio,id=serial0,signal=off', '-serial', 'chardev:serial0', '-monitor', 'none'],
    '-blockdev',
    '{"node-name":"disk0","driver":"qcow2","read-only":false,"discard":"unmap","file":{"driver":"file","filename":"work.qcow2"}}',
    '-device',
    '{"driver":"ide-hd","bus":"ide.0","unit":1,"id":"device0","drive":"disk0","bootindex":2}',
    '-blockdev',
    '{"node-name":"disk1","driver":"raw","read-only":false,"discard":"unmap","file":{"driver":"file","filename":"root.raw"}}',
    ...['-device', '{"driver":"ide-hd","bus":"ide.0","unit":0,"id":"device1","drive":"disk1"}'],
    '-blockdev',
    '{"node-name":"disk2","driver":"raw","read-only":true,"discard":"unmap","file":{"driver":"file","filename":"tools.iso"}}',
    ...['-device', '{"driver":"ide-cd","bus":"ide.1","unit":0,"id":"device2","drive":"disk2","bootindex":1}'],
  ]);
  assert.deepEqual(
    losses.map(({ field }) => field),
    ['title', 'description', 'foreign', 'disks[0].role', 'disks[0].virtualSizeBytes', 'disks[1].checksums'],
  );
});

test('a kernel, a bridge and a device of the host are said as such', () => {
  const { args } = qemuCommand({
    ...crane,
    disks: [{ role: 'system', device: 'disk', path: '/dev/vg/root', format: 'raw', bus: 'virtio' }],
    nics: [{ network: 'bridged', networkName: 'br0', model: 'virtio', macAddress: '52:54:00:00:00:01' }],
    kernel: { path: '-kernel', initrdPath: '/boot/initrd', commandLine: 'a,b "c"' },
  });
  const after = (option: string) => args[args.indexOf(option) + 1];
  assert.equal(after('-kernel'), './-kernel');
  assert.equal(after('-append'), 'a,b "c"');
  assert.match(after('-blockdev') ?? '', /"file":\{"driver":"host_device","filename":"\/dev\/vg\/root"\}/);
  assert.equal(after('-netdev'), '{"type":"bridge","id":"net0","br":"br0"}');
});

test('what QEMU cannot run, or would read otherwise, is refused', () => {
  const refusals: readonly (readonly [Partial<Machine>, string, RegExp])[] = [
    [{ guestType: 'xen' }, 'IMAGE_UNSUPPORTED', /guests of Xen/],
    [{ architecture: 'mips' }, 'IMAGE_UNSUPPORTED', /mips/],
    [{ firmware: 'uefi' }, 'IMAGE_OPTION', /UEFI/],
    [{ name: 'a\0b' }, 'IMAGE_OPTION', /NUL/],
    [{ uuid: 'x,y' }, 'IMAGE_OPTION', /"x,y" is no UUID/],
    [{ nics: [{ network: 'nat', macAddress: '1,2' }] }, 'IMAGE_OPTION', /"1,2"/],
    [{ graphics: { kind: 'vnc', listenAddress: 'x,password=off' } }, 'IMAGE_OPTION', /listen/],
    [{ kernel: { path: 'k', initrdPath: 'a,/etc/shadow' } }, 'IMAGE_OPTION', /comma/],
    [{ disks: [{ role: 'system', device: 'disk', path: 'x', format: 'zvhd' }] }, 'IMAGE_UNSUPPORTED', /zvhd/],
  ];
  for (const [change, code, message] of refusals)
    assert.throws(() => qemuCommand({ ...crane, ...change }), { code, message }, JSON.stringify(change));
});

test('QEMU takes the command of any machine that is not refused, with any name and any file', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-any-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const samples = fc.sample(machines, { numRuns: 60, seed: 3 });
  let startedCount = 0;
  for (const [at, sample] of samples.entries()) {
    const disks = sample.disks.map(({ path, ...disk }, index) => ({
      ...disk,
      format: disk.device === 'cdrom' ? 'iso' : 'raw',
      // Any name but for what no file can have.
      ...(path !== undefined && {
        path: join(folder, `${at}-${index}-${path.replaceAll(/[/\0]/g, '_').toWellFormed()}`),
      }),
    }));
    for (const { path } of disks) {
      if (path === undefined) continue;
      await writeFile(path, '');
      await truncate(path, 1440 * 1024);
    }
    const { graphics: _, ...rest } = sample;
    const isX86 = sample.architecture === 'x86_64' || sample.architecture === 'i686';
    const machine: Machine = {
      ...rest,
      architecture: isX86 ? sample.architecture : 'x86_64',
      firmware: 'bios',
      memoryBytes: 32 * 2 ** 20,
      cpuCount: 1 + (sample.cpuCount % 4),
      disks,
      // A bridge is one that the host has.
      nics: sample.nics.filter(({ network }) => network !== 'bridged'),
      ...(at % 5 === 0 && { graphics: { kind: 'vnc' as const, keymap: 'de' } }),
    };
    try {
      qemuCommand(machine);
    } catch (error) {
      assert.match((error as Error).message, /names of the bus|beyond the|is read only|places for SATA/);
      continue;
    }
    const running = await startMachine(machine);
    assert.equal(
      ((await running.qmp.execute('query-name')) as { readonly name?: string }).name,
      machine.name,
    );
    const blocks = (await running.qmp.execute('query-block')) as readonly {
      readonly inserted?: { readonly file: string };
    }[];
    const files = blocks.flatMap(({ inserted }) => (inserted === undefined ? [] : [inserted.file]));
    assert.deepEqual(
      files.toSorted(),
      disks.flatMap(({ path }) => (path === undefined ? [] : [path])).toSorted(),
    );
    await running.stop(0);
    startedCount += 1;
    if (startedCount === 20) break;
  }
  assert.equal(startedCount, 20);
});
