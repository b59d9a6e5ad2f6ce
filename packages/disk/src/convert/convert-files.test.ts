import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { assertSameBytes, patternDisk } from '../formats/images.testkit.ts';
import type { ByteSink } from '../io/byte-sink.ts';
import { memorySink } from '../io/memory.ts';
import { fileSink } from '../io/node-file.ts';
import { convertFiles } from './convert-files.ts';
import { measure } from './measure.ts';
import type { Progress } from './progress.ts';

const MIB = 1024 * 1024;
const disk = patternDisk(10 * MIB + 512, [
  [700, 2 * MIB],
  [9 * MIB, MIB],
]);
const FLAT = { format: 'vmdk', options: { subformat: 'monolithicFlat' }, baseName: 'vm' };

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'gantry-files-'));
  t.after(() => rm(path, { recursive: true }));
  return path;
}

/** Sinks that note what happens to them. */
function noted(events: string[], failing?: string): (name: string) => Promise<ByteSink> {
  return async (name) => {
    const sink = memorySink(name);
    const note = (event: string) => {
      events.push(`${event} ${name}`);
      if (failing === `${event} ${name}`) throw new Error('broken');
    };
    return {
      name,
      async write(offset, bytes, signal) {
        if (!events.includes(`write ${name}`)) note('write');
        await sink.write(offset, bytes, signal);
      },
      async finish(lengthBytes) {
        note('finish');
        await sink.finish(lengthBytes);
      },
      async abort() {
        note('abort');
      },
    };
  };
}

test('every file of the set is written, the zeros left out, and the lengths are told', async (t) => {
  const path = await folder(t);
  const written = await convertFiles(disk, (name) => fileSink(join(path, name)), FLAT);
  assert.deepEqual((await readdir(path)).sort(), ['vm-flat.vmdk', 'vm.vmdk']);
  const [descriptor, flat] = await Promise.all(written.map(({ name }) => readFile(join(path, name))));
  assert.ok(descriptor !== undefined && flat !== undefined);
  assert.deepEqual(written, [
    { name: 'vm.vmdk', lengthBytes: descriptor.length },
    { name: 'vm-flat.vmdk', lengthBytes: 10 * MIB + 512 },
  ]);
  const expected = new Uint8Array(disk.virtualSizeBytes);
  await disk.read(0, expected);
  assertSameBytes(flat, expected, 'flat extent');
});

test('the file to open comes last, and nothing is finished before all of it is written', async () => {
  const events: string[] = [];
  await convertFiles(disk, noted(events), FLAT);
  assert.deepEqual(events, ['write vm-flat.vmdk', 'write vm.vmdk', 'finish vm-flat.vmdk', 'finish vm.vmdk']);
});

test('when anything fails, every sink is aborted, and the failure is what is thrown', async () => {
  for (const failing of ['write vm-flat.vmdk', 'write vm.vmdk', 'finish vm-flat.vmdk']) {
    const events: string[] = [];
    await assert.rejects(convertFiles(disk, noted(events, failing), FLAT), /broken/);
    assert.ok(events.includes('abort vm-flat.vmdk') && events.includes('abort vm.vmdk'));
    assert.ok(!events.includes('finish vm.vmdk'));
  }
});

test('a disk that fails while it is written is the failure, even when an abort fails as well', async () => {
  const events: string[] = [];
  const openSink = noted(events, 'abort vm.vmdk');
  const reason = new Error('the disk broke');
  let isOpen = false;
  const failing = {
    ...disk,
    read: (offset: number, into: Uint8Array) => (isOpen ? Promise.reject(reason) : disk.read(offset, into)),
  };
  const opening = async (name: string) => {
    isOpen = true;
    return openSink(name);
  };
  await assert.rejects(convertFiles(failing, opening, FLAT), reason);
  assert.deepEqual(events.slice(-2), ['abort vm.vmdk', 'abort vm-flat.vmdk']);
});

test('a sink that cannot be opened ends it before anything is written, the others aborted', async () => {
  const events: string[] = [];
  const openSink = noted(events);
  const refusing = (name: string) => {
    if (name === 'vm-flat.vmdk') throw new Error('refused');
    return openSink(name);
  };
  await assert.rejects(convertFiles(disk, refusing, FLAT), /refused/);
  assert.deepEqual(events, ['abort vm.vmdk']);
});

test('a form of one file is one file, under the name of its format', async () => {
  const events: string[] = [];
  const written = await convertFiles(disk, noted(events), { format: 'qcow2', baseName: 'vm' });
  assert.equal(written[0]?.name, 'vm.qcow2');
  assert.ok(events.includes('finish vm.qcow2'));
});

test('measure tells what all files together take, before they are written', async () => {
  const written = await convertFiles(disk, noted([]), FLAT);
  const { requiredBytes, exact } = await measure(disk, FLAT);
  assert.ok(exact);
  assert.equal(
    requiredBytes,
    written.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0),
  );
});

test('progress rises over all files to the whole', async () => {
  const seen: Progress[] = [];
  await convertFiles(disk, noted([]), { ...FLAT, onProgress: (progress) => seen.push(progress) });
  const copied = seen.filter(({ phase }) => phase === 'copy');
  const done = copied.map(({ doneBytes }) => doneBytes);
  assert.deepEqual(
    done,
    done.toSorted((a, b) => a - b),
  );
  assert.equal(done.at(-1), copied.at(-1)?.totalBytes);
});

test('a disk that arrives once, and an aborted conversion, are refused', async () => {
  const arriving = { ...disk, sequential: true };
  await assert.rejects(convertFiles(arriving, noted([]), FLAT), { code: 'IMAGE_NOT_SEQUENTIAL' });
  const reason = new Error('enough');
  const aborted = convertFiles(disk, noted([]), { ...FLAT, signal: AbortSignal.abort(reason) });
  await assert.rejects(aborted, reason);
});
