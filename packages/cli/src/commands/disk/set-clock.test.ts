import assert from 'node:assert/strict';
import { watch } from 'node:fs';
import { open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gantry, launcher, run, startGantry, temporaryFolder } from '../../command.testkit.ts';
import { qemuImg } from './images.testkit.ts';
import { clockValue, windowsRaw } from './windows.testkit.ts';

const SET = '00000001';

test('set-clock shows its changes, and writes an image with them in another format', async (t) => {
  const folder = await temporaryFolder(t);
  const raw = await windowsRaw(folder);
  const before = await readFile(raw);
  assert.equal(await clockValue(folder, raw), undefined);
  const inspected = await gantry(['disk', 'inspect', raw]);
  assert.match(
    inspected.stdout,
    /hardware clock: local time \(RealTimeIsUniversal of ControlSet001 is not there\)/,
  );
  assert.match(inspected.stdout, /^proposed: .*, clock in local time$/m);
  assert.match(inspected.stdout, /gantry disk set-clock/);

  const dry = await gantry(['disk', 'set-clock', raw, '--dry-run']);
  assert.equal(dry.code, 0, dry.stderr);
  assert.match(
    dry.stdout,
    /^Windows on the whole disk \(ControlSet001\) will take the hardware clock for UTC\n/,
  );
  assert.match(
    dry.stdout,
    /^change: \d+ bytes at \d+: a free cell takes the value RealTimeIsUniversal, DWORD 1/m,
  );
  const { changes } = JSON.parse(
    (await gantry(['disk', 'set-clock', raw, '--dry-run', '-o', 'json'])).stdout,
  );
  for (const { offsetBytes, lengthBytes, before: old } of changes)
    assert.equal(before.toString('hex', offsetBytes, offsetBytes + lengthBytes), old);

  const qcow2 = join(folder, 'utc.qcow2');
  const written = await gantry(['disk', 'set-clock', raw, qcow2, '--compress', 'zlib']);
  assert.equal(written.code, 0, written.stderr);
  assert.match(written.stdout, /^wrote .*utc\.qcow2 as qcow2: /m);
  assert.ok(before.equals(await readFile(raw)), 'the image stays as it was');
  const utc = join(folder, 'utc.raw');
  await qemuImg('convert', '-f', 'qcow2', '-O', 'raw', qcow2, utc);
  assert.equal(await clockValue(folder, utc), SET);
  assert.match((await gantry(['disk', 'inspect', qcow2])).stdout, /^proposed: .*, clock in UTC$/m);

  // What is set already is written all the same: the target is there.
  const again = join(folder, 'again.raw');
  const same = await gantry(['disk', 'set-clock', qcow2, again]);
  assert.match(same.stdout, /takes the hardware clock for UTC already\n/);
  assert.ok((await readFile(utc)).equals(await readFile(again)));
});

test('a raw file is changed in place, and restored to the byte', async (t) => {
  const folder = await temporaryFolder(t);
  const raw = await windowsRaw(folder, { RealTimeIsUniversal: 0 });
  const before = await readFile(raw);
  const undo = join(folder, 'undo.json');
  const changed = await gantry(['disk', 'set-clock', raw, '--in-place', '--undo', undo]);
  assert.equal(changed.code, 0, changed.stderr);
  assert.match(changed.stdout, /^changed .*windows\.raw\n.*undo\.json takes it back: --apply-undo$/m);
  assert.equal(await clockValue(folder, raw), SET);
  const after = await readFile(raw);

  const twice = await gantry(['disk', 'set-clock', raw, '--in-place', '--undo', undo]);
  assert.equal(twice.code, 0);
  assert.ok(after.equals(await readFile(raw)));

  const back = await gantry(['disk', 'set-clock', raw, '--in-place', '--apply-undo', undo]);
  assert.equal(back.code, 0, back.stderr);
  assert.ok(before.equals(await readFile(raw)));
  const nothing = await gantry(['disk', 'set-clock', raw, '--in-place', '--apply-undo', undo]);
  assert.match(nothing.stdout, /nothing to take back/);

  const exists = await gantry(['disk', 'set-clock', raw, '--in-place', '--undo', undo]);
  assert.match(exists.stderr, /error\[STORE_EXISTS\]/);
  assert.ok(before.equals(await readFile(raw)));

  // The undo of a copy, into another copy.
  const copies = [join(folder, 'copy.qcow2'), join(folder, 'restored.raw')] as const;
  const other = join(folder, 'other.json');
  assert.equal((await gantry(['disk', 'set-clock', raw, copies[0], '--undo', other])).code, 0);
  assert.equal((await gantry(['disk', 'set-clock', copies[0], copies[1], '--apply-undo', other])).code, 0);
  assert.ok(before.equals(await readFile(copies[1])));
});

test('whatever part of the changes was made, the undo file restores the image', async (t) => {
  const folder = await temporaryFolder(t);
  const raw = await windowsRaw(folder);
  const before = await readFile(raw);
  const undo = join(folder, 'undo.json');
  assert.equal((await gantry(['disk', 'set-clock', raw, '--in-place', '--undo', undo])).code, 0);
  const { changes } = JSON.parse(await readFile(undo, 'utf8'));
  assert.ok(changes.length >= 3);
  for (const made of [1, changes.length - 1]) {
    const cut = join(folder, `cut-${made}.raw`);
    await writeFile(cut, before);
    const file = await open(cut, 'r+');
    for (const change of changes.slice(-made))
      await file.write(Buffer.from(change.before, 'hex'), 0, null, change.offsetBytes);
    await file.close();
    const { code, stderr } = await gantry(['disk', 'set-clock', cut, '--in-place', '--apply-undo', undo]);
    assert.equal(code, 0, stderr);
    assert.ok(before.equals(await readFile(cut)));
  }
  const other = join(folder, 'other.raw');
  await writeFile(other, Buffer.alloc(before.length, 7));
  const refused = await gantry([
    'disk',
    'set-clock',
    other,
    '--from',
    'raw',
    '--in-place',
    '--apply-undo',
    undo,
  ]);
  assert.match(refused.stderr, /error\[IMAGE_MALFORMED\]: .*other bytes stand there/);
  assert.ok(Buffer.alloc(before.length, 7).equals(await readFile(other)));
});

test('a kill as soon as there is an undo file leaves an image that it restores', async (t) => {
  const folder = await temporaryFolder(t);
  const raw = await windowsRaw(folder);
  const before = await readFile(raw);
  const undo = join(folder, 'undo.json');
  const watcher = watch(folder);
  const appeared = new Promise<void>((resolve) => {
    watcher.on('change', (_, name) => {
      if (name === 'undo.json') resolve();
    });
  });
  const { child, ended } = startGantry(['disk', 'set-clock', raw, '--in-place', '--undo', undo]);
  await Promise.race([appeared, ended]);
  child.kill('SIGKILL');
  await ended;
  watcher.close();
  // It has its name when all of it is there.
  const { code, stderr } = await gantry(['disk', 'set-clock', raw, '--in-place', '--apply-undo', undo]);
  assert.equal(code, 0, stderr);
  assert.ok(before.equals(await readFile(raw)));
});

test('where the work fails there is no undo file, and the next try is not refused for it', async (t) => {
  const folder = await temporaryFolder(t);
  const raw = await windowsRaw(folder);
  const undo = join(folder, 'undo.json');
  const target = join(folder, 'utc.raw');
  const names = (await readdir(folder)).toSorted();
  const { code } = await run('prlimit', [
    '--fsize=65536',
    process.execPath,
    '--conditions=source',
    launcher,
    'disk',
    'set-clock',
    raw,
    target,
    '--undo',
    undo,
  ]);
  assert.equal(code, 7, 'the disk looks full');
  assert.deepEqual((await readdir(folder)).toSorted(), names);
  assert.equal((await gantry(['disk', 'set-clock', raw, target, '--undo', undo])).code, 0);
  assert.deepEqual((await readdir(folder)).toSorted(), [...names, 'undo.json', 'utc.raw'].toSorted());
});

test('what set-clock does not do is refused, and nothing is written', async (t) => {
  const folder = await temporaryFolder(t);
  const raw = await windowsRaw(folder);
  const qcow2 = join(folder, 'windows.qcow2');
  await qemuImg('convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2);
  const blank = join(folder, 'blank.raw');
  await writeFile(blank, Buffer.alloc(65536));
  const names = (await readdir(folder)).toSorted();
  const undo = join(folder, 'undo.json');
  const cases: readonly (readonly [args: readonly string[], code: number, message: RegExp])[] = [
    [[raw], 2, /nothing says where/],
    [[raw, '--in-place'], 2, /--in-place needs --undo FILE/],
    [[raw, '-'], 2, /written to a file/],
    [[raw, join(folder, 'x.raw'), '--in-place', '--undo', undo], 2, /--in-place changes the image itself/],
    [[raw, '--in-place', '--undo', undo, '--apply-undo', undo], 2, /--apply-undo goes without/],
    [[raw, '--dry-run', '--partition', '0'], 2, /whole number/],
    [[raw, '--dry-run', '--partition', '2'], 1, /partition 2: no Windows/],
    [[qcow2, '--in-place', '--undo', undo], 1, /that is for raw files/],
    [[blank, join(folder, 'x.raw'), '--from', 'raw'], 1, /no Windows is on it/],
    [[raw, raw], 9, /what is read/],
    [[raw, raw, '--undo', undo], 9, /what is read/],
    [[raw, undo, '--undo', `${folder}/./undo.json`], 2, /--undo and the target are one file/],
    [[raw, '--in-place', '--undo', join(folder, 'none', 'undo.json')], 5, /does not exist/],
    [[raw, '--in-place', '--apply-undo', blank], 1, /it is no JSON/],
    [[raw, '--in-place', '--apply-undo', undo], 5, /does not exist/],
  ];
  for (const [args, code, message] of cases) {
    const ended = await gantry(['disk', 'set-clock', ...args]);
    assert.equal(ended.code, code, `${args.join(' ')}: ${ended.stderr}`);
    assert.match(ended.stderr, message);
  }
  assert.deepEqual((await readdir(folder)).toSorted(), names);
});
