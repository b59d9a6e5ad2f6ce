import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gantry, run, startGantry, temporaryFolder } from '../../command.testkit.ts';
import { qemuImg } from '../disk/images.testkit.ts';
import { bootDisk, descriptorOf } from './machine.testkit.ts';

/** As every host has it. */
const tcg = ['--accelerator', 'tcg'];

/** A folder with a descriptor and its system disk, of which the guest writes `ready` and does as is said. */
async function appliance(
  context: TestContext,
  then: Parameters<typeof bootDisk>[1],
  change: (text: string) => string = (text) => text,
): Promise<{ folder: string; file: string }> {
  const folder = await temporaryFolder(context);
  await writeFile(join(folder, 'root.raw'), bootDisk('ready', then));
  const file = join(folder, 'vm.xml');
  await writeFile(file, change(descriptorOf('raw')));
  return { folder, file };
}

test('lint says what is wrong with places, and ends with 3 for errors only', async (t) => {
  const { file } = await appliance(t, 'off');
  const good = await gantry(['machine', 'lint', file]);
  assert.deepEqual([good.code, good.stdout], [0, `${file}: nothing is wrong\n`]);
  await writeFile(file, descriptorOf('raw').replace('use="scratch" size="4"', 'use="scratch"'));
  const odd = await gantry(['machine', 'lint', file]);
  assert.equal(odd.code, 0);
  assert.match(odd.stdout, /vm\.xml:27:5: warning: a disk for scratch use without a size/);
  await writeFile(file, descriptorOf('raw').replace('disk="root.raw"', 'disk="gone"'));
  const bad = await gantry(['machine', 'lint', file, '-o', 'json']);
  assert.equal(bad.code, 3);
  assert.equal(JSON.parse(bad.stdout).findings[0].line, 15);
  await writeFile(file, '<image>');
  assert.equal((await gantry(['machine', 'lint', file])).code, 1);
  assert.equal((await gantry(['machine', 'lint', join(file, 'none')])).code, 5);
});

test('plan prints the command of QEMU, and makes nothing', async (t) => {
  const { folder, file } = await appliance(t, 'off');
  const { code, stdout, stderr } = await gantry([
    'machine',
    'plan',
    file,
    '--ram',
    '64',
    '--vcpus',
    '2',
    '-n',
    'x y',
  ]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^\S*qemu-system-x86_64 .* -name 'guest=x y' .* -smp 2 -m 65536k /);
  assert.match(
    stderr,
    /^boot: 0\ndisk: hda \S+root\.raw, raw: is there\ndisk: hdb \S+work\.qcow2, qcow2: would be made, 4 MiB/m,
  );
  assert.deepEqual((await readdir(folder)).sort(), ['root.raw', 'vm.xml']);
  const { disks, text } = JSON.parse((await gantry(['machine', 'plan', file, '-o', 'json'])).stdout);
  assert.deepEqual(disks[1], {
    target: 'hdb',
    bus: 'ide',
    device: 'disk',
    role: 'scratch',
    path: join(folder, 'work.qcow2'),
    format: 'qcow2',
    action: 'create',
    virtualSizeBytes: 4 * 2 ** 20,
  });
  assert.match(text, /"filename":"[^"]*root\.raw"/);
});

test('plan prints domain XML that libvirt takes, and a script for VirtualBox', async (t) => {
  const { folder, file } = await appliance(t, 'off');
  const capabilities = join(folder, 'capabilities.xml');
  await writeFile(
    capabilities,
    "<capabilities><guest><os_type>hvm</os_type><arch name='x86_64'><domain type='test'/></arch><features><acpi toggle='yes'/><apic toggle='yes'/></features></guest></capabilities>",
  );
  const planned = await gantry([
    'machine',
    'plan',
    file,
    '--for',
    'libvirt',
    '--capabilities',
    capabilities,
    '--network',
    'network:default,model=virtio,mac=52:54:00:00:00:0A',
  ]);
  assert.equal(planned.code, 0, planned.stderr);
  const domain = join(folder, 'domain.xml');
  await writeFile(domain, planned.stdout);
  assert.equal(
    (await run('virsh', ['--connect', 'test:///default', 'define', '--validate', domain])).code,
    0,
  );
  assert.match(
    planned.stdout,
    /<mac address="52:54:00:00:00:0a"\/>\s*<source network="default"\/>\s*<model type="virtio"\/>/,
  );
  const box = await gantry(['machine', 'plan', file, '--for', 'virtualbox']);
  assert.equal(box.code, 1, box.stdout);
  assert.match(box.stderr, /VirtualBox does not write to/);
});

test('options that cannot be are refused before anything is done', async (t) => {
  const { file } = await appliance(t, 'off');
  const wrong: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['--boot', '10'], 2, /the boots are 0 to 0/],
    [['--network', 'wifi'], 2, /"wifi" is no network/],
    [['--network', 'user,mac=1234'], 2, /"1234" is no address/],
    [['--network', 'user,model=ne2k'], 2, /ne2k/],
    [['--vnc', '--nographics'], 2, /one or the other/],
    [['--ram', '0'], 2, /whole number above 0/],
    [['--uefi-code', 'x'], 2, /go together/],
  ];
  for (const [args, status, message] of wrong) {
    const { code, stderr } = await gantry(['machine', 'plan', file, ...args]);
    assert.equal(code, status, stderr);
    assert.match(stderr, message);
  }
});

test('convert writes other kinds of descriptors, and tells what is lost', async (t) => {
  const { folder, file } = await appliance(t, 'off');
  const libvirt = await gantry(['machine', 'convert', file, '-', '--to', 'libvirt']);
  assert.equal(libvirt.code, 2);
  assert.match(libvirt.stderr, /absolute path/);
  const domain = join(folder, 'domain.xml');
  await writeFile(
    domain,
    (await gantry(['machine', 'plan', file, '--for', 'libvirt'])).stdout.replaceAll(`${folder}/`, ''),
  );
  const back = join(folder, 'back.xml');
  const { code, stderr } = await gantry(['machine', 'convert', domain, back, '--to', 'virt-image']);
  assert.equal(code, 0, stderr);
  assert.match(await readFile(back, 'utf8'), /<drive disk="work\.qcow2" target="hdb"\/>/);
  assert.equal((await gantry(['machine', 'lint', back])).code, 0);
  const again = await gantry(['machine', 'convert', domain, domain, '--to', 'virt-image']);
  assert.equal(again.code, 9);
});

test('run makes what is missing, shows the serial port, and ends with the guest', async (t) => {
  const { folder, file } = await appliance(t, 'off');
  const { code, stdout, stderr } = await gantry([
    'machine',
    'run',
    file,
    '--ram',
    '32',
    '--accelerator',
    'tcg',
  ]);
  assert.equal(code, 0, stderr);
  assert.equal(stdout, 'ready');
  assert.match(stderr, /made \S+work\.qcow2\nruns with QEMU, without KVM; .*\nended: guest-shutdown\n$/);
  assert.equal((await stat(join(folder, 'work.qcow2'))).isFile(), true);
  const qcow2 = await temporaryFolder(t);
  await qemuImg('convert', '-O', 'qcow2', join(folder, 'root.raw'), join(qcow2, 'root.qcow2'));
  await writeFile(join(qcow2, 'vm.xml'), descriptorOf('qcow2'));
  const second = await gantry([
    'machine',
    'run',
    join(qcow2, 'vm.xml'),
    '--ram',
    '32',
    '--vnc',
    '--nographics',
  ]);
  assert.equal(second.code, 2);
  const shown = await gantry(['machine', 'run', join(qcow2, 'vm.xml'), '--ram', '32', ...tcg, '--vnc']);
  assert.equal(shown.stdout, 'ready', shown.stderr);
  assert.match(shown.stderr, /screen by VNC at 127\.0\.0\.1:59\d\d/);
});

test('run --print prints the command, and neither makes nor starts anything', async (t) => {
  const { folder, file } = await appliance(t, 'off');
  const { code, stdout } = await gantry(['machine', 'run', file, '--print', '-o', 'json']);
  assert.equal(code, 0);
  assert.ok(JSON.parse(stdout).args.includes('guest=tug'));
  assert.ok(!existsSync(join(folder, 'work.qcow2')));
});

test('Ctrl-C presses the power button, and ends a guest that does not know it after the grace', async (t) => {
  for (const [then, grace] of [
    ['off-by-button', '600'],
    ['nothing', '0.1'],
  ] as const) {
    const { file } = await appliance(t, then);
    const { child, ended } = startGantry(['machine', 'run', file, '--ram', '32', ...tcg, '--grace', grace]);
    let text = '';
    while (text !== 'ready') text += String((await once(child.stdout ?? child, 'data'))[0]);
    child.kill('SIGINT');
    const { code, stderr } = await ended;
    assert.equal(code, 130, stderr);
    assert.match(stderr, /pressed the power button/);
  }
});

test('a disk that is not what the descriptor says is not started', async (t) => {
  const wrongSum = (text: string) =>
    text.replace('format="raw"/>', `format="raw"><checksum type="sha1">${'0'.repeat(40)}</checksum></disk>`);
  const { folder, file } = await appliance(t, 'off', wrongSum);
  const { code, stderr } = await gantry(['machine', 'run', file, '--ram', '32']);
  assert.equal(code, 1);
  assert.match(stderr, /the sha1 of \S+root\.raw is/);
  assert.ok(!existsSync(join(folder, 'work.qcow2')));
  assert.equal(
    (await gantry(['machine', 'run', file, '--ram', '32', ...tcg, '--skip-checksum'])).stdout,
    'ready',
  );
});

test('a descriptor does not lead out of its folder, unless it is trusted', async (t) => {
  const { folder, file } = await appliance(t, 'off');
  const inner = join(folder, 'inner');
  await mkdir(inner);
  const moved = join(inner, 'vm.xml');
  await writeFile(moved, (await readFile(file, 'utf8')).replaceAll('root.raw', '../root.raw'));
  const refused = await gantry(['machine', 'run', moved, '--ram', '32']);
  assert.equal(refused.code, 9);
  assert.match(refused.stderr, /leads out of the folder.*\n.*--any-path/s);
  const { stdout } = await gantry(['machine', 'run', moved, '--ram', '32', ...tcg, '--any-path']);
  assert.equal(stdout, 'ready');
});

test('a machine with UEFI runs with the installed firmware, and keeps its variables beside its descriptor', async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, 'vm.xml');
  const domain = '<domain type="qemu"><name>x</name><memory unit="MiB">128</memory>';
  await writeFile(
    file,
    `${domain}<os firmware="efi"><type arch="x86_64" machine="q35">hvm</type></os></domain>`,
  );
  const { code, stdout, stderr } = await gantry(['machine', 'plan', file]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /pflash0=firmware-code/);
  const variables = join(folder, 'vm.uefi-variables');
  assert.ok(stdout.includes(variables));
  assert.ok(!existsSync(variables));
  const { child, ended } = startGantry(['machine', 'run', file, ...tcg, '--grace', '0']);
  while (!existsSync(variables)) await once(child.stderr ?? child, 'data');
  child.kill('SIGINT');
  assert.equal((await ended).code, 130);
  assert.equal((await stat(variables)).mode % 0o1000, 0o600);
});
