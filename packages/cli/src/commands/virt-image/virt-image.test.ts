import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gantry, run, temporaryFolder } from '../../command.testkit.ts';
import { bootDisk, descriptorOf } from '../machine/machine.testkit.ts';

/** The driver of libvirt that pretends: a host of its own for each process, with a running machine `test`. */
const CONNECT = ['--connect', 'test:///default'];

async function appliance(
  context: TestContext,
  change: (text: string) => string = (text) => text,
): Promise<{ folder: string; file: string }> {
  const folder = await temporaryFolder(context);
  await writeFile(join(folder, 'root.raw'), bootDisk('ready', 'off'));
  const file = join(folder, 'vm.xml');
  const text = descriptorOf('raw')
    .replace('x86_64', 'i686')
    .replace(/<features>[\s\S]*<\/features>/, '<features><pae/></features>');
  await writeFile(file, change(text));
  return { folder, file };
}

const virtImage = (...args: string[]) => gantry(['virt-image', ...CONNECT, ...args]);

test('a machine is defined and started, and its missing disks are made', async (t) => {
  for (const args of [
    [],
    ['--noreboot'],
    ['--replace'],
    ['-n', 'it\'s;"odd"$HOME', '--graphics', 'vnc,port=5901,keymap=ja'],
  ]) {
    const { folder, file } = await appliance(t);
    const { code, stdout, stderr } = await virtImage(file, ...args);
    assert.equal(code, 0, stderr);
    assert.match(stdout, args[0] === '--noreboot' ? /^tug: defined\n/ : /^\S+: defined and started\n/);
    assert.deepEqual((await readdir(folder)).sort(), ['root.raw', 'vm.xml', 'work.qcow2']);
  }
});

test('print gives the domain XML and makes nothing, with the options of the old tool', async (t) => {
  const { folder, file } = await appliance(t);
  const printed = async (...args: string[]) => {
    const { code, stdout, stderr } = await virtImage('--print', ...args, file);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  assert.match(await printed(), /<domain type="test">[\s\S]*<source network="default"\/>/);
  assert.match(
    await printed('-r', '64', '-w', 'user,model=e1000', '--boot', '0'),
    /<memory unit="KiB">65536<[\s\S]*<interface type="user">\s*<model type="e1000"\/>/,
  );
  assert.match(
    await printed('--memory', '128,maxmemory=256', '--os-variant', 'none'),
    /<memory unit="KiB">131072</,
  );
  assert.match(
    await printed('--vnc', '--vncport', '5905', '--vnclisten', '0.0.0.0', '-k', 'de'),
    /<graphics type="vnc" port="5905" autoport="no" listen="0\.0\.0\.0" keymap="de"\/>/,
  );
  assert.match(await printed('--sdl'), /<graphics type="sdl"\/>/);
  assert.doesNotMatch(await printed('--nographics', '--noapic', '--noacpi'), /<graphics|<acpi|<apic/);
  assert.match(
    await printed('-m', '52:54:00:00:00:01', '-m', 'RANDOM'),
    /<mac address="52:54:00:00:00:01"\/>[\s\S]*<interface/,
  );
  assert.match(
    await printed('-b', 'br0', '-u', '1B4E28BA-2FA1-41D2-883F-0016D3CCA427'),
    /<uuid>1b4e28ba[\s\S]*<source bridge="br0"\/>/,
  );
  assert.match(
    await printed('--omitted-features', 'off', '--cpuset', '1', '--check-cpu', '-q', '-d'),
    /<features>\s*<pae\/>/,
  );
  assert.deepEqual((await readdir(folder)).sort(), ['root.raw', 'vm.xml']);
});

test('what the old tool refused is refused', async (t) => {
  const { file } = await appliance(t);
  const wrong: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['-n', 'test'], 6, /there is a machine test already/],
    [['--network', 'network:none'], 5, /no network "none".*\n.*default/],
    [['--mac', '1234'], 2, /"1234" is no address/],
    [['--boot', '10'], 2, /the boots are 0 to 0/],
    [['--vnc', '--sdl'], 2, /there is one screen/],
    [['--bridge', 'br0', '--network', 'user'], 2, /one or the other/],
    [['--connect', 'none:///x'], 1, /libvirt refuses/],
  ];
  for (const [args, status, message] of wrong) {
    const { code, stderr } = await virtImage(file, ...args);
    assert.equal(code, status, stderr);
    assert.match(stderr, message);
  }
  const nameless = await appliance(t, (text) => text.replace('<name>tug</name>', ''));
  assert.match((await virtImage(nameless.file)).stderr, /a machine needs a name/);
  assert.equal((await virtImage()).code, 2);
});

test('the program under its old name does the same', async (t) => {
  const { file } = await appliance(t);
  const program = fileURLToPath(new URL('../../../bin/virt-image.mjs', import.meta.url));
  const { code, stdout } = await run(program, [...CONNECT, file, '--print']);
  assert.equal(code, 0);
  assert.equal(stdout, (await virtImage(file, '--print')).stdout);
  assert.match(await readFile(program, 'utf8'), /^#!/);
});
