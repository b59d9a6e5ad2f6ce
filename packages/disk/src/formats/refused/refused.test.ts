import assert from 'node:assert/strict';
import { createWriteStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type TestContext, test } from 'node:test';
import { createGzip } from 'node:zlib';
import { utf8Bytes } from '../../bytes/fields.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import { fileSource } from '../../io/node-file.ts';
import { testFolder, tool } from '../images.testkit.ts';
import { probeFormat } from '../probe.ts';
import { refused } from './refused.ts';

function marked(lengthBytes: number, mark: string, offsetBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  bytes.set(Buffer.from(mark, 'latin1'), offsetBytes);
  return bytes;
}

async function probedName(context: TestContext, path: string): Promise<string> {
  const source = await fileSource(path);
  context.after(() => source.close());
  return (await probeFormat(source)).name;
}

/** qemu-img measures the processor to choose a number of rounds, and now and then says that it cannot. */
async function makeLuks(path: string, attempts: number): Promise<void> {
  const secret = ['--object', 'secret,id=s,data=secret', '-o', 'key-secret=s,iter-time=200'];
  try {
    await tool('qemu-img', 'create', '-q', '-f', 'luks', ...secret, path, '1M');
  } catch (error) {
    if (attempts === 1) throw error;
    await makeLuks(path, attempts - 1);
  }
}

test('files that qemu-img makes are known by their marks', async (t) => {
  const folder = await testFolder(t);
  for (const name of ['qcow', 'qed', 'vhdx', 'parallels']) {
    const path = join(folder, name);
    await tool('qemu-img', 'create', '-q', '-f', name, path, '10M');
    assert.equal(await probedName(t, path), name);
  }
  const luks = join(folder, 'luks');
  await makeLuks(luks, 20);
  assert.equal(await probedName(t, luks), 'luks');
});

test('archives and compressed files are known by their marks', async (t) => {
  const folder = await testFolder(t);
  const plain = join(folder, 'disk.raw');
  await writeFile(plain, utf8Bytes('a disk'.repeat(1000)));
  await writeFile(join(folder, 'empty'), '');
  for (const file of ['disk.raw', 'empty']) {
    const path = join(folder, file);
    await pipeline([utf8Bytes(file)], createGzip(), createWriteStream(`${path}.gz`));
    await tool('xz', '--keep', path);
    await tool('bzip2', '--keep', path);
    await tool('zstd', '-q', path);
    const endings = { gz: 'gzip', xz: 'xz', bz2: 'bzip2', zst: 'zstd' };
    for (const [ending, name] of Object.entries(endings)) {
      assert.equal(await probedName(t, `${path}.${ending}`), name);
    }
  }
  for (const format of ['gnu', 'ustar', 'pax']) {
    const path = join(folder, `${format}.tar`);
    await tool('tar', '--create', `--format=${format}`, '--file', path, '--directory', folder, 'disk.raw');
    assert.equal(await probedName(t, path), 'tar');
  }
});

test('marks whose programs are not at hand are known as their documents give them', async () => {
  const marks: readonly (readonly [name: string, bytes: Uint8Array])[] = [
    ['parallels', marked(4096, 'WithoutFreeSpace', 0)],
    ['bochs', marked(4096, 'Bochs Virtual HD Image', 0)],
    ['dmg', marked(4096, 'koly', 4096 - 512)],
    ['zip', marked(4096, 'PK\x03\x04', 0)],
    ['cloop', marked(4096, '#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount', 0)],
  ];
  for (const [name, bytes] of marks) {
    assert.equal((await probeFormat(memorySource(bytes))).name, name);
  }
});

test('every refused format says why and what to do', async () => {
  for (const format of refused) {
    const opening = format.open(memorySource(new Uint8Array(0), 'a.file'), { references: denyReferences });
    await assert.rejects(opening, (error: { code: string; message: string; hint: string }) => {
      assert.equal(error.code, 'IMAGE_UNSUPPORTED');
      assert.match(error.message, /^a\.file: \S.*[^.]$/);
      assert.ok(error.hint.length > 10);
      return true;
    });
    assert.equal(format.plan, undefined);
  }
});

test('short files, zeros and text carry no mark', async () => {
  const plain = [0, 1, 3, 7, 511, 512, 513, 1024].map((length) => new Uint8Array(length));
  for (const bytes of [
    ...plain,
    utf8Bytes('streams of text'),
    utf8Bytes('BZh9 is not enough'),
    utf8Bytes('QFI'),
  ]) {
    assert.equal((await probeFormat(memorySource(bytes))).name, 'raw');
  }
});
