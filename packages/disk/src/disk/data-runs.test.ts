import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { patternDisk } from '../formats/images.testkit.ts';
import { dataRuns } from './data-runs.ts';

const SIZE = 1000;

/** Runs of data in order and apart. */
const runs = fc
  .uniqueArray(fc.nat({ max: SIZE }), { maxLength: 12 })
  .map((ends) => ends.sort((a, b) => a - b))
  .map((ends) =>
    ends.flatMap((end, i) => (i % 2 === 1 ? [[ends[i - 1]!, end - ends[i - 1]!] as const] : [])),
  );

test('every unit that data touches is in one run, in order, and no other unit is', async () => {
  await fc.assert(
    fc.asyncProperty(
      runs,
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 1, max: 4 }),
      async (data, unit, n) => {
        const units: number[] = [];
        for await (const run of dataRuns(patternDisk(SIZE, data), unit, unit * n, { phase: 'test' })) {
          assert.equal(run.offsetBytes % unit, 0);
          assert.equal(run.lengthBytes % unit, 0);
          assert.ok(run.lengthBytes > 0 && run.lengthBytes <= unit * n);
          for (let at = 0; at < run.lengthBytes; at += unit) units.push((run.offsetBytes + at) / unit);
        }
        const expected = Array.from({ length: Math.ceil(SIZE / unit) }, (_, i) => i).filter((i) =>
          data.some(([start, length]) => start < (i + 1) * unit && start + length > i * unit),
        );
        assert.deepEqual(units, expected);
      },
    ),
  );
});

test('a walk that starts in the middle gives the runs from there on', async () => {
  const disk = patternDisk(SIZE, [[0, SIZE]]);
  const found = await Array.fromAsync(dataRuns(disk, 100, 300, { phase: 'test', fromBytes: 500 }));
  assert.deepEqual(found, [
    { offsetBytes: 500, lengthBytes: 300 },
    { offsetBytes: 800, lengthBytes: 200 },
  ]);
});

test('progress never goes back, whatever the extents are, and ends at the total', async () => {
  await fc.assert(
    fc.asyncProperty(runs, fc.integer({ min: 1, max: 60 }), async (data, unit) => {
      let last = 0;
      const onProgress = ({
        phase,
        doneBytes,
        totalBytes,
      }: {
        phase: string;
        doneBytes: number;
        totalBytes: number;
      }) => {
        assert.deepEqual([phase, totalBytes], ['test', SIZE]);
        assert.ok(doneBytes >= last && doneBytes <= SIZE);
        last = doneBytes;
      };
      for await (const _ of dataRuns(patternDisk(SIZE, data), unit, unit, { phase: 'test', onProgress }));
      assert.equal(last, SIZE);
    }),
  );
});
