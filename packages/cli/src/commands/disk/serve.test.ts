import assert from 'node:assert/strict';
import { appendFile, copyFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gantry, type Running, run, startGantry, temporaryFolder } from '../../command.testkit.ts';
import { qemuImg, sampleFiles } from './images.testkit.ts';

const MIB = 2 ** 20;

interface Serving extends Running {
  /** What it printed: the address of the export. */
  readonly address: string;
}

/** Starts `gantry disk serve` and waits until it says where. */
async function serve(context: TestContext, ...args: readonly string[]): Promise<Serving> {
  const running = startGantry(['disk', 'serve', ...args]);
  context.after(async () => {
    running.child.kill('SIGKILL');
    await running.ended;
  });
  const address = await new Promise<string>((resolve, reject) => {
    let text = '';
    running.child.stdout?.on('data', (chunk) => {
      text += chunk;
      if (text.endsWith('\n')) resolve(text.trim());
    });
    running.ended.then(({ code, stderr }) => reject(new Error(`it ended with ${code}: ${stderr}`)), reject);
  });
  return { ...running, address };
}

async function qemuIo(address: string, ...commands: readonly string[]): Promise<void> {
  const args = ['-f', 'raw', ...commands.flatMap((command) => ['-c', command]), address];
  const { code, stdout } = await run('qemu-io', args);
  assert.equal(code, 0, stdout);
}

test('an image is served until it is interrupted, and every disk command reads it', async (context) => {
  const folder = await temporaryFolder(context);
  const { raw } = await sampleFiles(folder);
  const vmdk = join(folder, 'disk.vmdk');
  await qemuImg('convert', '-f', 'raw', '-O', 'vmdk', '-o', 'subformat=streamOptimized', raw, vmdk);
  const socket = join(folder, 'nbd.sock');
  const { address, child, ended } = await serve(context, vmdk, '--socket', socket, '--export', 'web 1');
  assert.equal(address, `nbd+unix:///web%201?socket=${socket}`);
  assert.equal((await stat(socket)).mode % 0o1000, 0o600);
  assert.match(await qemuImg('compare', '-f', 'raw', address, raw), /identical/);
  const info = JSON.parse((await gantry(['disk', 'info', address, '-o', 'json'])).stdout);
  assert.equal(info.format, 'nbd');
  assert.equal(info.details.description, 'disk.vmdk');
  const [ours, theirs] = await Promise.all([address, raw].map((file) => gantry(['disk', 'digest', file])));
  assert.equal(ours?.stdout.split(' ')[0], theirs?.stdout.split(' ')[0]);
  assert.equal((await gantry(['disk', 'compare', address, vmdk])).code, 0);
  const [map, own] = await Promise.all([address, vmdk].map((file) => gantry(['disk', 'map', file])));
  assert.equal(map?.stdout, own?.stdout.replaceAll(' (compressed)', ''));
  assert.match((await gantry(['disk', 'check', address])).stderr, /raw has no structures to check/);
  const copy = join(folder, 'copy.qcow2');
  assert.equal((await gantry(['disk', 'convert', address, copy])).code, 0);
  assert.match(await qemuImg('compare', copy, raw), /identical/);
  const chosen = await gantry(['disk', 'info', address, '--snapshot', 'x']);
  assert.match(chosen.stderr, /error\[USAGE\]: an NBD export is one disk/);
  child.kill('SIGINT');
  const { code, stdout, stderr } = await ended;
  assert.equal(code, 0, stderr);
  assert.equal(stdout, `${address}\n`);
  await assert.rejects(stat(socket));
  assert.match((await gantry(['disk', 'info', address])).stderr, /error\[STORE_UNREACHABLE\]/);
});

test('what clients write is in the overlay, also after a kill, and the image stays as it is', async (context) => {
  const folder = await temporaryFolder(context);
  const { raw, qcow2 } = await sampleFiles(folder);
  const changed = join(folder, 'changed.raw');
  await copyFile(raw, changed);
  const overlay = join(folder, 'changes.qcow2');
  const args = [qcow2, '--listen', '127.0.0.1:0', '--overlay', overlay];
  const writes = ['write -P 7 1000 5000', 'write -z 1M 300k', 'write -P 8 5M 1M', 'flush'];
  const first = await serve(context, ...args);
  assert.match(first.address, /^nbd:\/\/127\.0\.0\.1:\d+$/);
  await qemuIo(first.address, ...writes);
  await qemuIo(changed, ...writes);
  const second = await gantry(['disk', 'serve', ...args]);
  assert.match(second.stderr, /error\[STORE_REFUSED\]: .* is used by another process/);
  first.child.kill('SIGKILL');
  await first.ended;

  const again = await serve(context, ...args);
  assert.match(await qemuImg('compare', '-f', 'raw', again.address, changed), /identical/);
  await qemuIo(again.address, 'write -P 9 3M 100');
  await qemuIo(changed, 'write -P 9 3M 100');
  again.child.kill('SIGTERM');
  assert.equal((await again.ended).code, 0);
  assert.match(await qemuImg('compare', overlay, changed), /identical/);
  assert.match(await qemuImg('check', overlay), /No errors were found/);
  const flat = join(folder, 'flat.vmdk');
  const { code, stderr } = await gantry(['disk', 'convert', overlay, flat, '--references-from', folder]);
  assert.equal(code, 0, stderr);
  assert.match(await qemuImg('compare', flat, changed), /identical/);
  assert.match(await qemuImg('compare', qcow2, raw), /identical/);

  await qemuImg('convert', '-f', 'raw', '-O', 'qcow2', changed, qcow2);
  const other = await gantry(['disk', 'serve', ...args]);
  assert.match(other.stderr, /error\[STORE_REFUSED\]: .* the overlay belongs to another disk/);
});

test('an overlay of what its name alone does not lead to cannot be opened without it', async (context) => {
  const folder = await temporaryFolder(context);
  const { qcow2 } = await sampleFiles(folder);
  await qemuImg('snapshot', '-c', 'before', qcow2);
  const overlay = join(folder, 'changes.qcow2');
  const args = [qcow2, '--snapshot', 'before', '--socket', join(folder, 's'), '--overlay', overlay];
  const { address, child, ended } = await serve(context, ...args);
  await qemuIo(address, 'write -P 1 0 1M');
  child.kill('SIGINT');
  await ended;
  const opened = await gantry(['disk', 'info', overlay, '--references-from', folder]);
  assert.match(opened.stderr, /error\[IMAGE_REFERENCE\]/);
});

test('data that nbdcopy brings arrives', async (context) => {
  const folder = await temporaryFolder(context);
  const { raw } = await sampleFiles(folder);
  const empty = join(folder, 'empty.raw');
  await qemuImg('create', '-q', '-f', 'raw', empty, String(8 * MIB));
  const overlay = join(folder, 'changes.qcow2');
  const { address } = await serve(context, empty, '--socket', join(folder, 's'), '--overlay', overlay);
  assert.equal((await run('nbdcopy', ['--flush', raw, address])).code, 0);
  assert.match(await qemuImg('compare', '-f', 'raw', address, raw), /identical/);
});

test('an image that changes while it is served, and addresses that others reach, are not passed over', async (context) => {
  const folder = await temporaryFolder(context);
  const { raw } = await sampleFiles(folder);
  const { child, ended } = await serve(context, raw, '--socket', join(folder, 's'));
  await appendFile(raw, 'more');
  child.kill('SIGINT');
  assert.match((await ended).stderr, /error\[STORE_CHANGED\]/);
  for (const listen of ['0.0.0.0:0', '[::]:0', 'example.org:0']) {
    const { code, stderr } = await gantry(['disk', 'serve', raw, '--listen', listen]);
    assert.equal(code, 9, stderr);
    assert.match(stderr, /error\[STORE_REFUSED\]: .* can be reached by other machines/);
  }
  const remote = await serve(context, raw, '--listen', '0.0.0.0:0', '--allow-remote');
  assert.match(remote.address, /^nbd:\/\/0\.0\.0\.0:\d+$/);
  for (const wrong of [
    ['--listen', 'nowhere'],
    ['--listen', '127.0.0.1:99999'],
    ['--socket', 's', '--listen', '127.0.0.1:0'],
    ['--export', 'x'.repeat(5000)],
  ]) {
    assert.equal((await gantry(['disk', 'serve', raw, ...wrong])).code, 2, wrong.join(' '));
  }
  assert.equal((await gantry(['disk', 'serve', raw, '--overlay', raw])).code, 9);
  await rm(raw);
  assert.equal((await gantry(['disk', 'serve', raw])).code, 5);
});
