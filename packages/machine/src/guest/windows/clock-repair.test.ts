import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { patchedDisk } from '@gantry/disk';
import { diskOf, MIB, makeDisk, makeFat, makeNtfs, peer, temporaryFolder } from '../images.testkit.ts';
import { inspectGuest } from '../inspect.ts';
import { proposeLaunch } from '../propose.ts';
import { clockCommands, hive, type WindowsWishes, windowsTree } from '../windows.testkit.ts';
import { reversedChanges } from './byte-changes.ts';
import { planClockRepair } from './clock-repair.ts';

const WINDOWS_PART = 'type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7';
const HIVE = '/Windows/System32/config/SYSTEM';
const few: WindowsWishes = { libraryCount: 3, serviceCount: 5 };

async function windowsVolume(
  folder: string,
  wishes: WindowsWishes = {},
  args: readonly string[] = [],
): Promise<Uint8Array> {
  return makeNtfs(folder, await windowsTree(folder, { ...few, ...wishes }), args, 8 * MIB);
}

/** The disk of a Windows behind a partition of 1 MiB, as a rule the second. */
async function windowsDisk(folder: string, volume: Uint8Array): Promise<Uint8Array> {
  const first = { content: new Uint8Array(MIB), entry: 'type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE' };
  return makeDisk(folder, 'gpt', [first, { content: volume, entry: WINDOWS_PART }]);
}

async function bytesOf(disk: Awaited<ReturnType<typeof diskOf>>): Promise<Uint8Array> {
  const bytes = new Uint8Array(disk.virtualSizeBytes);
  await disk.read(0, bytes);
  return bytes;
}

/** The value as ntfs-3g finds the file in a volume, and hivex the value in that. */
async function clockOf(folder: string, volume: Uint8Array): Promise<string> {
  const image = join(folder, 'volume.img');
  await writeFile(image, volume);
  await peer('sh', ['-c', 'ntfscat "$0" "$1" > "$0.hive"', image, HIVE]);
  const path = '\\ControlSet002\\Control\\TimeZoneInformation';
  return (await peer('hivexget', [`${image}.hive`, path, 'RealTimeIsUniversal'])).trim();
}

for (const args of [[], ['-c', '512'], ['-c', '65536'], ['-s', '4096', '-c', '4096']]) {
  test(`the clock of a Windows in an NTFS of mkntfs ${args.join(' ')} is set, and set back`, async (t) => {
    const folder = await temporaryFolder(t);
    const image = await windowsDisk(folder, await windowsVolume(folder, {}, args));
    const disk = await diskOf(image);
    const { where, controlSet, changes } = await planClockRepair(disk);
    assert.deepEqual([where, controlSet], ['partition 2', 'ControlSet002']);
    assert.ok(changes.length >= 3);
    const changed = patchedDisk(
      disk,
      changes.map(({ offsetBytes, after }) => ({ offsetBytes, bytes: after })),
    );
    const bytes = await bytesOf(changed);
    const [, windows] = (await inspectGuest(changed)).partitions;
    assert.ok(windows);
    const volume = bytes.subarray(windows.offsetBytes, windows.offsetBytes + windows.lengthBytes);
    assert.equal(await clockOf(folder, volume), '1');
    assert.equal((await inspectGuest(changed)).operatingSystems[0]?.windows?.clock?.holds, 'utc');
    assert.deepEqual((await planClockRepair(changed)).changes, []);
    const restored = Uint8Array.from(bytes);
    for (const { offsetBytes, before, after } of reversedChanges(changes)) {
      assert.deepEqual(restored.slice(offsetBytes, offsetBytes + before.length), before);
      restored.set(after, offsetBytes);
    }
    assert.ok(Buffer.from(restored).equals(image));
  });
}

test('the setting, its type and the zone are reported, with what they mean for a launch', async (t) => {
  const folder = await temporaryFolder(t);
  const zone = 'TimeZoneKeyName\nstring:W. Europe Standard Time';
  const looked = async (values: readonly string[]) => {
    const system = await hive(folder, 'system', clockCommands([zone, ...values]));
    const report = await inspectGuest(await diskOf(await windowsVolume(folder, { system })));
    const { clock } = report.operatingSystems[0]?.windows ?? {};
    const codes = report.findings.map(({ code }) => code);
    return { clock, codes, proposed: proposeLaunch(report).clock, report };
  };
  const place = { controlSet: 'ControlSet002', timeZone: 'W. Europe Standard Time' };
  const absent = await looked([]);
  assert.deepEqual(absent.clock, { ...place, holds: 'local' });
  assert.deepEqual([absent.codes, absent.proposed], [['WINDOWS_CLOCK_LOCAL'], 'local']);
  assert.match(absent.report.findings[0]?.message ?? '', /local time \(W\. Europe Standard Time\)/);
  assert.match(absent.report.findings[0]?.hint ?? '', /gantry disk set-clock/);
  const zero = await looked(['RealTimeIsUniversal\ndword:0']);
  assert.deepEqual(zero.clock, { ...place, holds: 'local', valueType: 'REG_DWORD', value: 0 });
  const wide = await looked(['RealTimeIsUniversal\nqword:1']);
  assert.deepEqual(wide.clock, { ...place, valueType: 'REG_QWORD' });
  assert.deepEqual([wide.codes, wide.proposed], [['WINDOWS_CLOCK_UNKNOWN'], 'utc']);
});

async function refusal(image: Uint8Array, partition?: number) {
  try {
    await planClockRepair(await diskOf(image), { partition });
  } catch (error) {
    const { code, message, hint } = error as { code: string; message: string; hint: string };
    assert.ok(hint.length > 0, 'it says what to do');
    return `${code}: ${message}`;
  }
  return 'planned';
}

test('a Windows that is hibernated, dirty or was not unmounted is refused', async (t) => {
  const folder = await temporaryFolder(t);
  const probe = async (volume: Uint8Array) => {
    const image = join(folder, 'probed.img');
    await writeFile(image, volume);
    return (
      await peer('sh', ['-c', 'ntfs-3g.probe --readwrite "$0" >/dev/null 2>&1; echo $?', image])
    ).trim();
  };
  for (const mark of ['hibr', 'HIBR', 'RSTR']) {
    const files = { 'hiberfil.sys': `${mark}${' and the rest'.repeat(400)}` };
    const volume = await windowsVolume(folder, { files });
    assert.match(await refusal(volume), /^IMAGE_UNSUPPORTED: .*hibernated/);
    if (mark !== 'RSTR') assert.equal(await probe(volume), '14');
  }
  const awake = await windowsVolume(folder, { files: { 'hiberfil.sys': 'wake'.repeat(1500) } });
  assert.equal(await refusal(awake), 'planned');

  const volume = await windowsVolume(folder);
  assert.equal(await probe(volume), '0');
  const opened = withOpenLog(volume);
  assert.equal(await probe(opened), '15');
  assert.match(await refusal(opened), /^IMAGE_UNSUPPORTED: .*was not unmounted/);
  const closed = withOpenLog(volume, 2);
  assert.equal(await probe(closed), '0');
  assert.equal(await refusal(closed), 'planned');

  const dirty = join(folder, 'dirty.img');
  await writeFile(dirty, volume);
  await peer('ntfsfix', [dirty]);
  assert.match(await refusal(new Uint8Array(await readFile(dirty))), /^IMAGE_UNSUPPORTED: .*marked dirty/);
});

/** A log with two restart pages that a client has open, by the layout in ntfs-3g's logfile.h. */
function withOpenLog(volume: Uint8Array, flags = 0): Uint8Array {
  const bytes = Uint8Array.from(volume);
  // An emptied log is all ones; nothing else of a fresh volume begins so at a cluster and goes on.
  const ones = Buffer.alloc(64 * 1024, 0xff);
  const start = Buffer.from(bytes).indexOf(ones);
  assert.ok(start >= 0 && start % 512 === 0);
  for (const [index, at] of [start, start + 4096].entries()) {
    const page = bytes.subarray(at, at + 4096).fill(0);
    const view = new DataView(page.buffer, page.byteOffset);
    page.set(Buffer.from('RSTR'));
    view.setUint16(4, 30, true);
    view.setUint16(6, 9, true);
    view.setUint32(16, 4096, true);
    view.setUint32(20, 4096, true);
    view.setUint16(24, 48, true);
    view.setUint16(26, 1, true);
    view.setUint16(28, 1, true);
    // The restart area: newest number, one client, in use.
    const area = 48;
    view.setBigUint64(area, BigInt(100 + index), true);
    view.setUint16(area + 8, 1, true);
    view.setUint16(area + 10, 0xffff, true);
    view.setUint16(area + 12, 0, true);
    view.setUint16(area + 14, flags, true);
    view.setUint32(area + 16, 45, true);
    view.setUint16(area + 20, 48 + 160, true);
    view.setUint16(area + 22, 48, true);
    view.setBigUint64(area + 24, 2n * 1024n * 1024n, true);
    view.setUint16(area + 36, 48, true);
    view.setUint16(area + 38, 64, true);
    const client = area + 48;
    view.setUint16(client + 16, 0xffff, true);
    view.setUint16(client + 18, 0xffff, true);
    view.setUint32(client + 28, 8, true);
    page.set(Buffer.from('NTFS', 'utf16le'), client + 32);
    // The last bytes of each sector are put aside.
    view.setUint16(30, 1, true);
    for (let sector = 1; sector <= 8; sector++) view.setUint16(sector * 512 - 2, 1, true);
  }
  return bytes;
}

/** Sets flags of the data of a file in its record: its attribute of type 0x80. */
function withDataFlags(volume: Uint8Array, name: string, flags: number): Uint8Array {
  const bytes = Uint8Array.from(volume);
  const view = new DataView(bytes.buffer);
  const wanted = Buffer.from(name, 'utf16le');
  let count = 0;
  for (let at = 0; at + 1024 <= bytes.length; at += 1024) {
    const record = Buffer.from(bytes.buffer, at, 1024);
    if (record.toString('latin1', 0, 4) !== 'FILE') continue;
    for (
      let one = record.readUInt16LE(20);
      record.readUInt32LE(one) < 0x90;
      one += record.readUInt32LE(one + 4)
    ) {
      const isNamed =
        record.readUInt32LE(one) === 0x30 && record.subarray(one + 24 + 66).indexOf(wanted) === 0;
      if (isNamed && record.readUInt8(one + 24 + 64) === name.length) count += 1;
      if (count > 0 && record.readUInt32LE(one) === 0x80) {
        view.setUint16(at + one + 12, flags, true);
        return bytes;
      }
    }
    count = 0;
  }
  throw new Error(`no record of ${name}`);
}

test('a registry that is not stored as it is, or not written to its end, is refused', async (t) => {
  const folder = await temporaryFolder(t);
  const volume = await windowsVolume(folder);
  for (const [flags, message] of [
    [0x0001, /it is compressed/],
    [0x4000, /it is encrypted/],
    [0x8000, /SYSTEM: .*it is sparse/],
  ] as const)
    assert.match(await refusal(withDataFlags(volume, 'SYSTEM', flags)), message);
  const system = await hive(folder, 'dirty', clockCommands([]));
  const dirty = Uint8Array.from(system);
  dirty[4] = (dirty[4] ?? 0) + 1;
  const refused = await refusal(await windowsVolume(folder, { system: dirty }));
  assert.match(refused, /^IMAGE_UNSUPPORTED: the registry was not written to its end/);
});

test('a control set that is not the next, or has no time zone, is refused', async (t) => {
  const folder = await temporaryFolder(t);
  const other = await hive(folder, 'other', [
    ...clockCommands([]),
    'cd \\Select',
    'setval 2\nCurrent\ndword:2\nDefault\ndword:1',
  ]);
  assert.match(
    await refusal(await windowsVolume(folder, { system: other })),
    /ran with ControlSet002 and is to start with ControlSet001/,
  );
  const none = await hive(folder, 'none', ['add Select', 'cd Select', 'setval 1\nCurrent\ndword:1']);
  assert.match(await refusal(await windowsVolume(folder, { system: none })), /has no TimeZoneInformation/);
  const empty = await hive(folder, 'empty', ['add Select']);
  assert.match(
    await refusal(await windowsVolume(folder, { system: empty })),
    /does not say which control set/,
  );
});

test('of several Windows one is to be chosen; what is no NTFS of Windows is refused', async (t) => {
  const folder = await temporaryFolder(t);
  const volume = await windowsVolume(folder);
  const system = await hive(folder, 'utc', clockCommands(['RealTimeIsUniversal\ndword:1']));
  const isUtc = await windowsVolume(folder, { system });
  const part = (content: Uint8Array) => ({ content, entry: WINDOWS_PART });
  const fat = await makeFat(folder, { 'Windows/System32/config/SYSTEM': 'regf' });
  const bitlocker = new Uint8Array(MIB);
  bitlocker.set(Buffer.from('\xeb\x58\x90-FVE-FS-', 'latin1'));
  const disk = await makeDisk(folder, 'gpt', [part(volume), part(isUtc), part(fat), part(bitlocker)]);
  assert.match(await refusal(disk), /^IMAGE_AMBIGUOUS: there are several Windows: partition 1, partition 2$/);
  const opened = await diskOf(disk);
  assert.ok((await planClockRepair(opened, { partition: 1 })).changes.length > 0);
  assert.deepEqual((await planClockRepair(opened, { partition: 2 })).changes, []);
  assert.match(await refusal(disk, 3), /^IMAGE_UNSUPPORTED: partition 3: no Windows/);
  assert.match(await refusal(disk, 4), /^IMAGE_UNSUPPORTED: partition 4: it is encrypted \(bitlocker\)/);
  assert.match(await refusal(disk, 5), /^IMAGE_UNSUPPORTED: partition 5: no Windows/);
  assert.match(await refusal(new Uint8Array(MIB)), /^IMAGE_UNSUPPORTED: the disk: no Windows/);
});
