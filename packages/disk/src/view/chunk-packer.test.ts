import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ChunkPacker } from './chunk-packer.ts';

type Step =
  | { readonly kind: 'append' | 'lend'; readonly at: number; readonly lengthBytes: number }
  | { readonly kind: 'zeros'; readonly lengthBytes: number }
  | { readonly kind: 'return' };

const MEMORY_BYTES = 1024 * 1024;
const lengths = fc.integer({ min: 1, max: 200_000 });
const steps = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constantFrom('append' as const, 'lend' as const),
        at: fc.integer({ min: 0, max: MEMORY_BYTES - 200_000 }),
        lengthBytes: lengths,
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('zeros' as const), lengthBytes: lengths }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'return' as const }) },
  ) satisfies fc.Arbitrary<Step>,
  { maxLength: 40 },
);

/** Each byte tells where it stands; `round` tells which loan it is of. */
function fillMemory(memory: Uint8Array, round: number): void {
  for (let i = 0; i < memory.length; i++) memory[i] = (i * 31 + (i >> 8) + round * 17) & 0xff;
}

test('what is appended or lent comes out in order, whatever the lender does with its memory afterwards', () => {
  fc.assert(
    fc.property(steps, fc.boolean(), (given, inARow) => {
      const memory = new Uint8Array(MEMORY_BYTES);
      fillMemory(memory, 0);
      const packer = new ChunkPacker(512);
      const expected: Uint8Array[] = [];
      const written: Uint8Array[] = [];
      let endBytes = 512;
      const take = (chunks: ReturnType<ChunkPacker['takeLent']>) => {
        for (const { offsetBytes, bytes } of chunks) {
          assert.equal(offsetBytes, endBytes);
          written.push(bytes.slice());
          endBytes += bytes.length;
        }
      };
      let round = 0;
      let nextLent = 0;
      for (const step of given) {
        if (step.kind === 'return') {
          take(packer.takeLent(() => new Uint8Array(0)));
          fillMemory(memory, ++round);
          nextLent = 0;
        } else if (step.kind === 'zeros') {
          packer.appendZeros(step.lengthBytes);
          expected.push(new Uint8Array(step.lengthBytes));
        } else {
          // Half of the cases lend what stands behind what was lent before, as compressed units do.
          const at = inARow && step.kind === 'lend' && nextLent < MEMORY_BYTES - 200_000 ? nextLent : step.at;
          const bytes = memory.subarray(at, at + step.lengthBytes);
          packer[step.kind](bytes);
          expected.push(bytes.slice());
          if (step.kind === 'lend') nextLent = at + step.lengthBytes;
        }
        assert.equal(packer.endBytes, 512 + expected.reduce((sum, bytes) => sum + bytes.length, 0));
      }
      take(packer.takeAll());
      assert.deepEqual(Buffer.concat(written), Buffer.concat(expected));
    }),
    { numRuns: 60 },
  );
});

test('units that follow each other in the memory of the lender are not copied', () => {
  const memory = new Uint8Array(300_000).fill(7);
  const packer = new ChunkPacker();
  packer.lend(memory.subarray(1000, 100_000));
  packer.lend(memory.subarray(100_000, 250_000));
  const chunks = [...packer.takeLent(() => new Uint8Array(0))];
  assert.equal(chunks.length, 1);
  assert.equal(chunks[0]?.bytes.buffer, memory.buffer);
  assert.equal(chunks[0]?.bytes.length, 249_000);
});
