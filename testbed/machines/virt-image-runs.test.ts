import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { assembledSector } from '../guests/assembler.ts';
import { debianDisc } from '../guests/debian-disk.ts';
import { accelerator, GUARD, twoAtATime } from '../guests/running-guest.testkit.ts';
import { root } from '../house/files.ts';
import { projectModule } from '../house/pages.ts';
import { screensOf } from './vnc.testkit.ts';

const execute = promisify(execFile);
const { bootDisk } = await projectModule<{ bootDisk(text: string, then: string): Uint8Array }>(
  'packages/cli/src/commands/machine/machine.testkit.ts',
);

/** Two thirds of full blue, as the six bits of VGA's palette have it. */
const BLUE = 0x0000a8;

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-descriptor-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/**
 * The machine that the manual page of the format shows: a disc to start from, which is there, and an empty disk, which
 * is not; the place of one of them is given; a NIC and a screen.
 */
function rescueDescriptor(architecture: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>
<image>
  <name>rescue</name>
  <domain>
    <boot type="hvm">
      <guest>
        <arch>${architecture}</arch>
      </guest>
      <os>
        <loader dev="cdrom"/>
      </os>
      <drive disk="root.raw" target="hda"/>
      <drive disk="rescue"/>
    </boot>
    <devices>
      <vcpu>1</vcpu>
      <memory>262144</memory>
      <interface/>
      <graphics/>
    </devices>
  </domain>
  <storage>
    <disk file="root.raw" use="scratch" size="100" format="raw"/>
    <disk id="rescue" file="isos/rescue.iso" use="system" format="iso"/>
  </storage>
</image>
`;
}

function diskDescriptor(file: string, format: string): string {
  return `<image>
  <name>${format}</name>
  <domain>
    <boot type="hvm">
      <guest>
        <arch>x86_64</arch>
      </guest>
      <os>
        <loader dev="hd"/>
      </os>
      <drive disk="${file}"/>
    </boot>
    <devices>
      <vcpu>1</vcpu>
      <memory>65536</memory>
    </devices>
  </domain>
  <storage>
    <disk file="${file}" use="system" format="${format}"/>
  </storage>
</image>
`;
}

interface Run {
  readonly child: ChildProcess;
  readonly text: { stdout: string; stderr: string };
  /** The first match in one of the outputs, as soon as there is one. */
  said(where: 'stdout' | 'stderr', pattern: RegExp): Promise<RegExpExecArray>;
  readonly ended: Promise<number | null>;
}

function runMachine(t: TestContext, file: string, ...args: readonly string[]): Run {
  const launcher = join(root, 'packages/cli/bin/gantry.cjs');
  const child = spawn(process.execPath, ['--conditions=source', launcher, 'machine', 'run', file, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGTERM'));
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('latin1').on('data', (chunk: string) => {
      text[name] += chunk;
      child.emit('said');
    });
  }
  const ended = once(child, 'close').then(([code]) => code as number | null);
  return {
    child,
    text,
    ended,
    async said(where, pattern) {
      for (;;) {
        const found = pattern.exec(text[where]);
        if (found !== null) return found;
        const more = await Promise.race([once(child, 'said').then(() => true), ended.then(() => false)]);
        if (!more && !pattern.test(text[where])) assert.fail(`${pattern}: ${text.stdout} | ${text.stderr}`);
      }
    },
  };
}

/** Runs the descriptor until its guest has said this and its screen is blue; then the power button ends it. */
async function requireRescue(
  t: TestContext,
  folder: string,
  architecture: string,
  used: 'kvm' | 'tcg',
  ...said: readonly RegExp[]
): Promise<void> {
  const file = join(folder, 'rescue.xml');
  await writeFile(file, rescueDescriptor(architecture));
  const run = runMachine(t, file, '--accelerator', used);
  const [, host = '', port = ''] = await run.said('stderr', /screen by VNC at (127\.0\.0\.1):(\d+);/);
  for (const pattern of said) await run.said('stdout', pattern);
  for await (const { width, height, pixels } of screensOf(host, Number(port))) {
    assert.equal(pixels.length, width * height);
    if (width > 0 && pixels.every((pixel) => pixel === BLUE)) break;
  }
  run.child.kill('SIGINT');
  assert.equal(await run.ended, 130, run.text.stderr);
  assert.match(run.text.stderr, /^made \S+root\.raw$/m);
  const { size, blocks } = await stat(join(folder, 'root.raw'));
  assert.deepEqual([size, blocks], [100 * 2 ** 20, 0]);
}

test(
  "the manual page's machine runs as it is written: disk and disc in their places, and a screen",
  GUARD,
  async (t) => {
    const folder = await temporaryFolder(t);
    await mkdir(join(folder, 'isos'));
    await mkdir(join(folder, 'disc'));
    await writeFile(join(folder, 'disc/boot.img'), assembledSector('screen-guest.s'));
    const iso = [
      '-o',
      join(folder, 'isos/rescue.iso'),
      '-b',
      'boot.img',
      '-no-emul-boot',
      '-boot-load-size',
      '1',
    ];
    await execute('genisoimage', ['-quiet', ...iso, join(folder, 'disc')]);
    await requireRescue(t, folder, 'i686', 'tcg', /^disks: 1\n$/);
  },
);

test('Linux starts from its disc, and sees an empty disk first and the disc behind it', GUARD, async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'isos'));
  await copyFile(await debianDisc('wait'), join(folder, 'isos/rescue.iso'));
  const said = [
    /^gantry guest: up \d/m,
    /^gantry guest: disk sda 204800\r\ngantry guest: disk sr0 \d+\r\n/m,
    /^gantry guest: files are whole on sr0\r\n/m,
    /^gantry guest: waits for the power button\r\n/m,
  ];
  await requireRescue(t, folder, 'x86_64', await accelerator(), ...said);
});

test('a disk of every format that a descriptor may name starts', GUARD, async (t) => {
  const folder = await temporaryFolder(t);
  const raw = join(folder, 'disk.raw');
  await writeFile(raw, bootDisk('ready', 'off'));
  const formats = {
    raw: 'raw',
    qcow: 'qcow',
    qcow2: 'qcow2',
    vmdk: 'vmdk',
    vdi: 'vdi',
    vhd: 'vpc',
    vpc: 'vpc',
    vhdx: 'vhdx',
  };
  await twoAtATime(Object.entries(formats), async ([format, written]) => {
    const image = join(folder, `${format}.img`);
    await execute('qemu-img', ['convert', '-q', '-f', 'raw', '-O', written, raw, image]);
    const file = join(folder, `${format}.xml`);
    await writeFile(file, diskDescriptor(`${format}.img`, format));
    const run = runMachine(t, file, '--accelerator', 'tcg');
    assert.equal(await run.ended, 0, run.text.stderr);
    assert.equal(run.text.stdout, 'ready', format);
  });
});
