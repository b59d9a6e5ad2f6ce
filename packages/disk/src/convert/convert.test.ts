import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { diskDigest } from '../disk/digest.ts';
import type { Disk } from '../disk/disk.ts';
import { denyReferences } from '../disk/reference-gate.ts';
import { assertSameBytes, diskBytes, patternDisk, testFolder } from '../formats/images.testkit.ts';
import { openDisk } from '../formats/open.ts';
import { contentDisk, contents } from '../formats/qcow2/qcow2.testkit.ts';
import { rawDisk } from '../formats/raw/format.ts';
import type { ByteSink } from '../io/byte-sink.ts';
import { memorySink, memorySource } from '../io/memory.ts';
import { fileSink } from '../io/node-file.ts';
import { type ConvertOptions, convert, planImage } from './convert.ts';
import { measure } from './measure.ts';
import type { Progress } from './progress.ts';

const targets: readonly ConvertOptions[] = [
  { format: 'raw' },
  { format: 'qcow2' },
  { format: 'qcow2', options: { compat: '0.10', cluster_size: '4096' } },
  { format: 'qcow2', compression: 'zlib' },
  { format: 'qcow2', compression: 'zstd' },
];

const open = (bytes: Uint8Array, format: string): Promise<Disk> =>
  openDisk(memorySource(bytes, format), { format, references: denyReferences });

/** A disk with something in every MiB, so that every phase has many steps. */
function busyDisk(): Disk {
  const { bytes } = contentDisk({
    lengthBytes: 12_000_256,
    pieces: Array.from({ length: 12 }, (_, i) => ({
      at: i * 1_000_000,
      length: 400_000,
      kind: i % 2 === 0 ? 'noise' : 'text',
    })),
  });
  return rawDisk(memorySource(bytes));
}

test('a disk comes back the same from any form, through any other', async () => {
  await fc.assert(
    fc.asyncProperty(
      contents,
      fc.array(fc.constantFrom(...targets), { minLength: 1, maxLength: 3 }),
      async (content, path) => {
        const { disk, bytes } = contentDisk(content);
        const digest = await diskDigest(disk);
        let current = disk;
        for (const target of path) {
          const sink = memorySink();
          const lengthBytes = await convert(current, sink, target);
          assert.equal(sink.bytes().length, lengthBytes);
          current = await open(sink.bytes(), target.format);
          assert.equal(await diskDigest(current), digest);
        }
        const sink = memorySink();
        await convert(current, sink, { format: 'raw' });
        const sectors = path.some(({ format }) => format !== 'raw') ? 512 : 1;
        const expected = new Uint8Array(Math.ceil(bytes.length / sectors) * sectors);
        expected.set(bytes);
        assertSameBytes(sink.bytes(), expected);
      },
    ),
    { numRuns: 40 },
  );
});

test('the measure is the length of the file, or no less for compressed forms', async () => {
  await fc.assert(
    fc.asyncProperty(contents, fc.constantFrom(...targets), async (content, target) => {
      const { disk } = contentDisk(content);
      const { requiredBytes, exact } = await measure(disk, target);
      const lengthBytes = await convert(disk, memorySink(), target);
      assert.equal(exact, target.compression === undefined);
      if (exact) assert.equal(lengthBytes, requiredBytes);
      else assert.ok(lengthBytes <= requiredBytes);
    }),
    { numRuns: 30 },
  );
});

test('the file does not depend on the form that its content came from', async () => {
  const disk = busyDisk();
  const forms = await Promise.all(
    (['raw', 'qcow2'] as const).map(async (format) => {
      const sink = memorySink();
      await convert(disk, sink, { format });
      return open(sink.bytes(), format);
    }),
  );
  for (const target of targets) {
    const files = await Promise.all(
      forms.map(async (form) => {
        const sink = memorySink();
        await convert(form, sink, target);
        return sink.bytes();
      }),
    );
    assertSameBytes(files[1] ?? new Uint8Array(0), files[0] ?? new Uint8Array(1), JSON.stringify(target));
  }
});

test('a conversion that is stopped at any step leaves nothing and throws the reason', async (context) => {
  const folder = await testFolder(context);
  const disk = busyDisk();
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...targets), fc.nat({ max: 30 }), async (target, steps) => {
      const controller = new AbortController();
      const reason = new Error(`stopped after ${steps}`);
      let left = steps;
      const onProgress = () => {
        if (left-- === 0) controller.abort(reason);
      };
      if (steps === 0) controller.abort(reason);
      const sink = await fileSink(join(folder, 'image'));
      const running = convert(disk, sink, { ...target, onProgress, signal: controller.signal });
      const error = await running.then(
        () => undefined,
        (thrown) => thrown,
      );
      if (controller.signal.aborted) {
        assert.equal(error, reason);
        assert.deepEqual(await readdir(folder), []);
      } else {
        assert.equal(error, undefined);
        assert.deepEqual(await readdir(folder), ['image']);
        await writeFile(join(folder, 'image'), '');
        await import('node:fs/promises').then(({ rm }) => rm(join(folder, 'image')));
      }
    }),
    { numRuns: 40 },
  );
});

test('progress rises to the total in the one phase that a conversion has', async () => {
  for (const target of targets) {
    const seen: Progress[] = [];
    await convert(busyDisk(), memorySink(), { ...target, onProgress: (progress) => seen.push(progress) });
    const phases = [...new Set(seen.map(({ phase }) => phase))];
    assert.deepEqual(phases, [target.compression === undefined ? 'copy' : 'compress']);
    for (const phase of phases) {
      const steps = seen.filter((progress) => progress.phase === phase);
      const done = steps.map(({ doneBytes }) => doneBytes);
      assert.deepEqual(
        done,
        done.toSorted((a, b) => a - b),
        `${JSON.stringify(target)}: ${phase}`,
      );
      assert.equal(done.at(-1), steps.at(-1)?.totalBytes, `${JSON.stringify(target)}: ${phase}`);
      assert.equal(new Set(steps.map(({ totalBytes }) => totalBytes)).size, 1);
    }
  }
});

/** A sink whose writes fail after some. */
function failingSink(writes: number, abort: () => Promise<void>): ByteSink {
  let left = writes;
  return {
    name: 'failing',
    async write() {
      if (left-- <= 0) throw new Error('the disk is full');
    },
    async finish() {
      assert.fail('a failed conversion is not finished');
    },
    abort,
  };
}

test('a sink that fails is aborted, and its failure is what is thrown', async () => {
  for (const target of targets) {
    let aborted = 0;
    const sink = failingSink(3, async () => void aborted++);
    await assert.rejects(convert(busyDisk(), sink, target), /disk is full/);
    assert.equal(aborted, 1);
    const worse = failingSink(0, async () => {
      throw new Error('and cannot be cleaned');
    });
    await assert.rejects(convert(busyDisk(), worse, target), /disk is full/);
  }
});

test('a disk that cannot be read ends the conversion with its error and leaves nothing', async (context) => {
  const folder = await testFolder(context);
  const disk = busyDisk();
  const broken: Disk = {
    ...disk,
    async read(offset, into) {
      if (offset > 5_000_000) throw new Error('the disk is broken');
      await disk.read(offset, into);
    },
  };
  for (const target of targets) {
    await assert.rejects(convert(broken, await fileSink(join(folder, 'image')), target), /disk is broken/);
    assert.deepEqual(await readdir(folder), []);
  }
});

test('what a format does not take is refused before anything is written', async (context) => {
  const folder = await testFolder(context);
  const wrong: readonly (readonly [ConvertOptions, string])[] = [
    [{ format: 'qcow2', options: { colour: 'red' } }, 'IMAGE_OPTION'],
    [{ format: 'raw', options: { cluster_size: '512' } }, 'IMAGE_OPTION'],
    [{ format: 'raw', compression: 'zlib' }, 'IMAGE_OPTION'],
    [{ format: 'gzip' }, 'IMAGE_UNSUPPORTED'],
    [{ format: 'no such format' }, 'IMAGE_UNSUPPORTED'],
  ];
  for (const [target, code] of wrong) {
    const sink = await fileSink(join(folder, 'image'));
    await assert.rejects(convert(patternDisk(512, []), sink, target), { code });
    assert.deepEqual(await readdir(folder), []);
    await assert.rejects(planImage(patternDisk(512, []), target), { code });
    await assert.rejects(measure(patternDisk(512, []), target), { code });
  }
});

test('zeros of a raw disk are holes of the file', async (context) => {
  const folder = await testFolder(context);
  const path = join(folder, 'image');
  const { disk, bytes } = contentDisk({
    lengthBytes: 3_000_001,
    pieces: [{ at: 1_000_000, length: 1000, kind: 'text' }],
  });
  await convert(disk, await fileSink(path), { format: 'raw' });
  assertSameBytes(await readFile(path), bytes);
  assertSameBytes(await diskBytes(disk), bytes);
});
