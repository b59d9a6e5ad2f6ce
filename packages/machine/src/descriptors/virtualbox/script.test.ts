import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { completeMachine } from '../../complete.ts';
import type { Machine, MachineDisk } from '../../model.ts';
import { writeRegisterScript, writeVBoxManageScript } from './script.ts';

const uuid = '1b4e28ba-2fa1-11d2-883f-0016d3cca427';
const system: MachineDisk = { role: 'system', device: 'disk', path: '/vm/web.vmdk', format: 'vmdk' };
const machine = completeMachine({
  name: 'web',
  uuid,
  guestOs: { name: 'Debian' },
  disks: [system],
  nics: [{ network: 'nat', macAddress: '08:00:27:00:00:01' }],
});

/** What stands in the place of VBoxManage and writes down its arguments, each behind a NUL, calls behind two. */
const recorder = `#!/bin/sh
if [ "$1" = --version ]; then echo 'WARNING: no driver'; echo "$VERSION"; exit 0; fi
for argument in "$@"; do printf '%s\\0' "$argument" >>"$CALLS"; done
printf '\\0' >>"$CALLS"
[ "$1" != "$FAILS" ]
`;

interface Ran {
  readonly calls: readonly (readonly string[])[];
  readonly status: number | null;
  readonly stderr: string;
  readonly folder: string;
}

async function runner(
  context: TestContext,
): Promise<(script: string, settings?: Record<string, string>) => Promise<Ran>> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'gantry-vbox-')));
  context.after(() => rm(folder, { recursive: true }));
  await mkdir(join(folder, 'bin'));
  await writeFile(join(folder, 'bin/VBoxManage'), recorder);
  await chmod(join(folder, 'bin/VBoxManage'), 0o755);
  const record = join(folder, 'calls');
  return async (script, settings = {}) => {
    await writeFile(record, '');
    const path = join(folder, 'create.sh');
    await writeFile(path, script);
    const env = {
      PATH: `${join(folder, 'bin')}${delimiter}${process.env.PATH}`,
      CALLS: record,
      VERSION: '7.1.4r165100',
      FAILS: 'nothing',
      ...settings,
    };
    const { status, stderr } = spawnSync('sh', [path], { cwd: folder, env, encoding: 'utf8' });
    const calls = (await readFile(record, 'utf8')).split('\0\0').slice(0, -1);
    return { calls: calls.map((call) => call.split('\0')), status, stderr, folder };
  };
}

test('a machine is created, set up and given its disks, in that order', async (context) => {
  const run = await runner(context);
  const { text, losses } = writeVBoxManageScript(machine);
  assert.deepEqual(losses, []);
  const { calls, status, stderr } = await run(text);
  assert.equal(status, 0, stderr);
  assert.deepEqual(calls, [
    [
      'createvm',
      '--name',
      'web',
      '--ostype',
      'Debian_64',
      '--uuid',
      uuid,
      '--platform-architecture',
      'x86',
      '--register',
    ],
    [
      ...[
        'modifyvm',
        uuid,
        '--cpus',
        '1',
        '--memory',
        '2048',
        '--vram',
        '16',
        '--firmware',
        'bios',
        '--ioapic',
        'on',
      ],
      ...['--rtcuseutc', 'on', '--boot1', 'disk', '--boot2', 'dvd', '--boot3', 'none', '--boot4', 'none'],
      ...[
        '--nic1',
        'nat',
        '--nictype1',
        '82540EM',
        '--macaddress1',
        '080027000001',
        '--cableconnected1',
        'on',
      ],
    ],
    [
      'storagectl',
      uuid,
      '--name',
      'SATA',
      '--add',
      'sata',
      '--controller',
      'IntelAhci',
      '--portcount',
      '1',
      '--bootable',
      'on',
    ],
    [
      ...['storageattach', uuid, '--storagectl', 'SATA', '--port', '0', '--device', '0', '--type', 'hdd'],
      ...['--medium', '/vm/web.vmdk'],
    ],
  ]);
});

test('what 7.0 does not know it is not told, and ARM needs 7.1', async (context) => {
  const run = await runner(context);
  const { text } = writeVBoxManageScript(machine);
  for (const version of ['6.1.50r161033', '7.0.20r163906']) {
    const [create] = (await run(text, { VERSION: version })).calls;
    assert.deepEqual(create, [
      'createvm',
      '--name',
      'web',
      '--ostype',
      'Debian_64',
      '--uuid',
      uuid,
      '--register',
    ]);
  }
  const arm = writeVBoxManageScript({ ...machine, architecture: 'aarch64' });
  assert.deepEqual(
    arm.losses.map(({ field }) => field),
    ['firmware'],
  );
  const [create, modify] = (await run(arm.text)).calls;
  assert.deepEqual(create?.slice(-3), ['--platform-architecture', 'arm', '--register']);
  assert.equal(modify?.[(modify?.indexOf('--firmware') ?? 0) + 1], 'efi');
  assert.ok(!modify?.includes('--ioapic'));
  const old = await run(arm.text, { VERSION: '7.0.20r163906' });
  assert.deepEqual([old.status, old.calls], [1, []]);
  assert.match(old.stderr, /7\.1/);
});

test('an ARM machine has no controllers of old PCs', () => {
  const disks: MachineDisk[] = [
    { ...system, bus: 'ide' },
    { role: 'user', device: 'floppy', path: 'f.img' },
  ];
  const { text, losses } = writeVBoxManageScript({
    ...machine,
    firmware: 'uefi',
    architecture: 'aarch64',
    disks,
  });
  assert.deepEqual(
    losses.map(({ field }) => field),
    ['disks[0].bus', 'disks[1]'],
  );
  assert.doesNotMatch(text, /PIIX4|fdd/);
});

test('a command that fails ends the script, which says how to take the machine away', async (context) => {
  const run = await runner(context);
  const { calls, status, stderr } = await run(writeVBoxManageScript(machine).text, { FAILS: 'storagectl' });
  assert.equal(status, 1);
  assert.deepEqual(
    calls.map(([name]) => name),
    ['createvm', 'modifyvm', 'storagectl'],
  );
  assert.match(stderr, new RegExp(`VBoxManage unregistervm ${uuid}`));
});

const hostile = [
  `it's "quoted" \`id\` $(id) $HOME \\ \\n`,
  '; rm -rf ~ #',
  '-rf',
  '--register',
  '*',
  '!!',
  '~root',
  ' leading and trailing ',
  'none',
  "''",
  '日本 é \u{1f5a5}',
  'a && b || c | d > e < f',
  '%s%n',
];

test('hostile names arrive as they are, as one argument each', async (context) => {
  const run = await runner(context);
  for (const name of hostile) {
    const description = `${name}\n\t${name}`;
    const disks: MachineDisk[] = [
      { ...system, path: name },
      { role: 'user', device: 'cdrom', path: `/iso/${name}` },
      { role: 'user', device: 'cdrom' },
    ];
    const nics = [{ network: 'bridged' as const, networkName: name }];
    const { text } = writeVBoxManageScript({ ...machine, name, description, disks, nics });
    const { calls, status, stderr, folder } = await run(text);
    assert.equal(status, 0, stderr);
    const after = (call: readonly string[] | undefined, option: string) => call?.[call.indexOf(option) + 1];
    const [create, modify, controller, ...attached] = calls;
    assert.equal(create?.[2], name);
    assert.equal(create?.length, 10);
    assert.equal(after(modify, '--description'), description);
    assert.equal(after(modify, '--bridgeadapter1'), name);
    assert.equal(controller?.length, 12);
    assert.deepEqual(
      attached.map((call) => call.at(-1)),
      [`${folder}/${name}`, `/iso/${name}`, 'emptydrive'],
    );
  }
});

test('any text that a name may be is one argument', async (context) => {
  const run = await runner(context);
  const texts = fc.string({ minLength: 1, maxLength: 30, unit: 'binary' });
  await fc.assert(
    fc.asyncProperty(texts, texts, async (name, path) => {
      let text: string;
      try {
        ({ text } = writeVBoxManageScript({ ...machine, name, disks: [{ ...system, path: `/${path}` }] }));
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'IMAGE_OPTION');
        return;
      }
      const { calls } = await run(text);
      assert.equal(calls[0]?.[2], name);
      assert.equal(calls.at(-1)?.at(-1), `/${path}`);
    }),
    { numRuns: 40 },
  );
});

test('a settings file is registered by its absolute path, whatever it is called', async (context) => {
  const run = await runner(context);
  for (const name of hostile) {
    const { calls, folder } = await run(writeRegisterScript(name));
    assert.deepEqual(calls, [['registervm', `${folder}/${name}`]]);
  }
  assert.deepEqual((await run(writeRegisterScript('/vm/web.vbox'))).calls, [['registervm', '/vm/web.vbox']]);
  assert.throws(() => writeRegisterScript('a\nb'), { code: 'IMAGE_OPTION' });
});

test('the script is one that every POSIX shell reads', () => {
  const from: Machine = { ...machine, name: hostile[0] ?? '', firmware: 'uefi' };
  for (const shell of ['dash', 'bash']) {
    execFileSync(shell, ['-n'], { input: writeVBoxManageScript(from).text });
  }
});
