import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Ended, gantry, launcher, startGantry, temporaryFolder } from '../../command.testkit.ts';
import { qemuImg, sampleFiles } from './images.testkit.ts';

/** Runs the command with a file on its standard input, through a pipe. */
async function fed(input: string | Uint8Array, args: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, ['--conditions=source', launcher, ...args], { stdio: 'pipe' });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk) => stdout.push(chunk));
  child.stderr.on('data', (chunk) => stderr.push(chunk));
  // Who has seen enough closes its end.
  child.stdin.on('error', () => {});
  if (typeof input === 'string') createReadStream(input).pipe(child.stdin);
  else child.stdin.end(input);
  return new Promise((resolve) =>
    child.on('close', (code, signalName) => {
      const stdoutBytes = Buffer.concat(stdout);
      const texts = { stdout: stdoutBytes.toString(), stderr: Buffer.concat(stderr).toString() };
      resolve({ code, signalName, stdoutBytes, ...texts });
    }),
  );
}

function assertOk(ended: Ended): void {
  assert.equal(ended.code, 0, ended.stderr);
}

test('an image is converted from a pipe, compressed or not, and qemu-img finds the same disk', async (context) => {
  const folder = await temporaryFolder(context);
  const { raw, qcow2 } = await sampleFiles(folder);
  execFileSync('xz', ['-0k', qcow2]);
  execFileSync('gzip', ['-1k', raw]);
  for (const [source, target, ...flags] of [
    [qcow2, 'a.vmdk'],
    [`${qcow2}.xz`, 'b.qcow2', '--compress', 'zstd'],
    [raw, 'c.qcow2'],
    [`${raw}.gz`, 'd.vdi'],
    [raw, 'e.qcow2', '--from', 'raw', '--source-length', String((await stat(raw)).size)],
    [qcow2, 'f.oci'],
    [qcow2, 'g.ova'],
  ] as const) {
    const path = join(folder, target);
    assertOk(await fed(source, ['disk', 'convert', '-', path, ...flags]));
    const compared = await gantry(['disk', 'compare', path, raw]);
    assert.equal(compared.code, 0, `${target}: ${compared.stdout}${compared.stderr}`);
    if (!/oci|ova/.test(target)) await qemuImg('compare', path, raw);
  }
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.startsWith('.')),
    [],
  );
});

test('info, digest, map, check, compare and measure take a pipe', async (context) => {
  const folder = await temporaryFolder(context);
  const { raw, qcow2 } = await sampleFiles(folder);
  const info = await fed(qcow2, ['disk', 'info', '-', '-o', 'json']);
  assertOk(info);
  assert.equal(JSON.parse(info.stdout).format, 'qcow2');
  const digest = await fed(qcow2, ['disk', 'digest', '-']);
  assertOk(digest);
  assert.equal(digest.stdout.split(' ')[0], (await gantry(['disk', 'digest', raw])).stdout.split(' ')[0]);
  const map = await fed(qcow2, ['disk', 'map', '-']);
  assert.equal(map.stdout, (await gantry(['disk', 'map', qcow2])).stdout);
  assertOk(await fed(qcow2, ['disk', 'check', '-']));
  assertOk(await fed(qcow2, ['disk', 'compare', '-', raw]));
  assertOk(await fed(qcow2, ['disk', 'compare', raw, '-']));
  const measured = await fed(qcow2, ['disk', 'measure', '-', '--to', 'vdi']);
  assert.equal(measured.stdout, (await gantry(['disk', 'measure', qcow2, '--to', 'vdi'])).stdout);
  const out = await fed(qcow2, ['disk', 'convert', '-', '-', '--to', 'raw']);
  assertOk(out);
  assert.ok(out.stdoutBytes.equals(await readFile(raw)));
});

test('standard input that is a file, and a named pipe, are read as well', async (context) => {
  const folder = await temporaryFolder(context);
  const { raw, qcow2 } = await sampleFiles(folder);
  const target = join(folder, 'from-file.vdi');
  execFileSync('sh', [
    '-c',
    `"$0" --conditions=source "$1" disk convert - "$2" <"$3"`,
    process.execPath,
    launcher,
    target,
    qcow2,
  ]);
  assertOk(await gantry(['disk', 'compare', target, raw]));
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const other = join(folder, 'from-pipe.vdi');
  const running = startGantry(['disk', 'convert', pipe, other]);
  createReadStream(qcow2).pipe(createWriteStream(pipe));
  assertOk(await running.ended);
  assertOk(await gantry(['disk', 'compare', other, raw]));
});

test('what is cut on its way, or longer than was said, leaves no file', async (context) => {
  const folder = await temporaryFolder(context);
  const { raw, qcow2 } = await sampleFiles(folder);
  const empty = join(folder, 'targets');
  await mkdir(empty);
  const target = join(empty, 'x.vdi');
  const bytes = await readFile(qcow2);
  const half = bytes.subarray(0, bytes.length >> 1);
  execFileSync('gzip', ['-1k', raw]);
  const packed = await readFile(`${raw}.gz`);
  const cases: readonly (readonly [Uint8Array, readonly string[], RegExp])[] = [
    [half, [], /IMAGE_TRUNCATED/],
    [packed.subarray(0, packed.length - 4), [], /IMAGE_TRUNCATED/],
    [bytes, ['--source-length', '1000000', '--from', 'raw'], /STORE_IO|IMAGE_/],
    [half, ['--from', 'raw', '--source-length', String(bytes.length)], /STORE_IO/],
    [
      await readFile(raw),
      ['--source-length', String((await stat(raw)).size * 1000)],
      /IMAGE_NOT_SEQUENTIAL|STORE_IO/,
    ],
    [new Uint8Array(), [], /USAGE/],
  ];
  for (const [input, flags, error] of cases) {
    const ended = await fed(input, ['disk', 'convert', '-', target, ...flags]);
    assert.notEqual(ended.code, 0);
    assert.match(ended.stderr, error, flags.join(' '));
    assert.deepEqual(await readdir(empty), [], ended.stderr);
  }
});

test('a pipe is read once, a file has its own length', async (context) => {
  const folder = await temporaryFolder(context);
  const { qcow2 } = await sampleFiles(folder);
  for (const args of [
    ['disk', 'compare', '-', '-'],
    ['disk', 'info', qcow2, '--source-length', '5'],
    ['disk', 'info', '-', '--source-length', 'five'],
  ]) {
    const ended = await fed(qcow2, args);
    assert.equal(ended.code, 2, `${args.join(' ')}: ${ended.stderr}`);
  }
});

test('a disk of an archive and a snapshot are chosen by name', async (context) => {
  const folder = await temporaryFolder(context);
  const { raw, qcow2 } = await sampleFiles(folder);
  await qemuImg('snapshot', '-c', 'before', qcow2);
  await qemuImg('convert', '-O', 'qcow2', raw, join(folder, 'b.qcow2'));
  const archive = join(folder, 'two.oci');
  await writeFile(join(folder, 'image_metadata.json'), '{"version":2,"externalLaunchOptions":{}}');
  execFileSync('tar', [
    '-C',
    folder,
    '-cf',
    archive,
    'image_metadata.json',
    qcow2.slice(folder.length + 1),
    'b.qcow2',
  ]);
  const unchosen = await gantry(['disk', 'info', archive]);
  assert.match(unchosen.stderr, /IMAGE_OPTION/);
  assertOk(await gantry(['disk', 'compare', archive, raw, '--member', 'b.qcow2']));
  assertOk(await gantry(['disk', 'compare', raw, archive, '--member-b', 'b.qcow2']));
  assertOk(await gantry(['disk', 'digest', qcow2, '--snapshot', 'before']));
  assert.match((await gantry(['disk', 'digest', qcow2, '--snapshot', 'after'])).stderr, /IMAGE_/);
  assert.match((await gantry(['disk', 'info', raw, '--member', 'x'])).stderr, /IMAGE_OPTION/);
});

test('a raw disk of a guest that is not trusted is declared inside its wrapper', async (context) => {
  const folder = await temporaryFolder(context);
  const { qcow2 } = await sampleFiles(folder);
  await truncate(qcow2, Math.ceil((await stat(qcow2)).size / 512) * 512);
  execFileSync('gzip', ['-1k', qcow2]);
  const info = await gantry(['disk', 'info', `${qcow2}.gz`, '--from', 'raw.gz', '-o', 'json']);
  assertOk(info);
  assert.equal(JSON.parse(info.stdout).format, 'raw');
  assert.equal(JSON.parse(info.stdout).virtualSizeBytes, (await stat(qcow2)).size);
});

test('a silent sender does not hold a command that is interrupted', async (context) => {
  const folder = await temporaryFolder(context);
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  for (const file of ['-', pipe]) {
    const child = spawn(process.execPath, ['--conditions=source', launcher, 'disk', 'digest', file]);
    const ended = new Promise((resolve) => child.on('close', resolve));
    // More than a pipe holds: when it is written, the command has begun to read.
    const start = Buffer.alloc(300_000, 1);
    const sender = file === '-' ? undefined : await open(pipe, 'w');
    if (sender === undefined) await new Promise((resolve) => child.stdin.write(start, resolve));
    else await sender.writeFile(start);
    child.kill('SIGINT');
    assert.equal(await ended, 130, file);
    await sender?.close();
  }
});
