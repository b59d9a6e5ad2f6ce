/**
 * `npm run mutate -- [--minutes N] [--seed S] [--format F] [--only I] [--keep FOLDER]` bends good files of every
 * format at random and opens them as the corpus is opened. A crash, a hang, an error that is no refusal, more
 * than the limits, a name that was reached for, ways of reading that disagree, or another content than qemu-img
 * reads is a finding. What seed and number make is the same every time.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { imageErrorCodes } from '@gantry/disk';
import { makeBases } from './bases.ts';
import type { HostileCase } from './case.ts';
import { explanation } from './explained.ts';
import { imageWithoutZeros } from './image.ts';
import { type Base, mutated, Randomness } from './mutations.ts';
import { harm, Runner, type Trial } from './runner.ts';
import { qemuDigest } from './second-opinion.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    format: { type: 'string' },
    only: { type: 'string' },
    from: { type: 'string', default: '0' },
    keep: { type: 'string' },
  },
});
const seed = Number(values.seed);
const only = values.only === undefined ? undefined : Number(values.only);
const endsAtMs = performance.now() + Number(values.minutes) * 60_000;
const STATUS_EVERY_MS = 30_000;
/** qemu-img answers while the next cases are tried. */
const JUDGED_AT_ONCE = 3;
/** Larger disks are not unpacked by qemu-img to be compared. */
const COMPARED_BYTES = 64 * 2 ** 20;

interface Mutation {
  readonly index: number;
  readonly base: Base;
  readonly bytes: Uint8Array;
  readonly what: string;
}

const folder = mkdtempSync(join(tmpdir(), 'gantry-mutate-'));
const counts = new Map<string, number>();
const count = (what: string): void => {
  counts.set(what, (counts.get(what) ?? 0) + 1);
};
const runner = new Runner();
let findingCount = 0;
try {
  const made = await makeBases(folder);
  const bases = made.filter(({ format }) => values.format === undefined || format === values.format);
  if (bases.length === 0) throw new Error(`there is no good file of the format ${values.format}`);
  console.log(`${bases.length} good files, seed ${seed}`);
  const mutations = new Map<string, Mutation>();
  const judging = new Set<Promise<void>>();
  let shownAtMs = performance.now();
  for await (const trial of runner.run(cases(bases, mutations))) {
    const mutation = mutations.get(trial.hostile.name) as Mutation;
    mutations.delete(trial.hostile.name);
    const judged: Promise<void> = judge(trial, mutation).finally(() => judging.delete(judged));
    judging.add(judged);
    if (judging.size >= JUDGED_AT_ONCE) await Promise.race(judging);
    if (performance.now() - shownAtMs < STATUS_EVERY_MS) continue;
    shownAtMs = performance.now();
    console.log(
      `${counts.get('mutations')} mutations, ${findingCount} findings, at number ${mutation.index}`,
    );
  }
} finally {
  runner.stop();
  rmSync(folder, { recursive: true });
}
for (const [what, number] of [...counts].sort()) console.log(`${String(number).padStart(8)}  ${what}`);
process.exitCode = findingCount > 0 ? 1 : 0;

function* cases(bases: readonly Base[], mutations: Map<string, Mutation>): Generator<HostileCase> {
  for (let index = only ?? Number(values.from); performance.now() < endsAtMs; index++) {
    const random = new Randomness(seed, index);
    const base = random.of(bases);
    const others = bases.filter(({ format }) => format === base.format);
    const { bytes, what } = mutated(base, others, random);
    const name = `${base.name}, number ${index}: ${what}`;
    mutations.set(name, { index, base, bytes, what });
    count('mutations');
    yield {
      name,
      format: base.format,
      image: imageWithoutZeros(bytes),
      expected: { codes: imageErrorCodes },
    };
    if (only !== undefined) return;
  }
}

async function judge(trial: Trial, mutation: Mutation): Promise<void> {
  const { format } = mutation.base;
  for (const problem of [...harm(trial), ...disagreements(trial)]) report(mutation, problem);
  const whole = trial.results.find(({ way }) => way === 'whole')?.end;
  const forward = trial.results.find(({ way }) => way === 'forward')?.end;
  if (whole?.kind === 'refused') count(`${format}: ${whole.code}`);
  // An arriving file is not seen from its end, and believed less.
  if (whole?.kind !== forward?.kind) count(`${format}: ${whole?.kind} whole, ${forward?.kind} as it arrives`);
  if (whole?.kind !== 'read') return;
  count(`${format}: read`);
  if (whole.sizeBytes > COMPARED_BYTES) return;
  const digest = await qemuDigest(folder, format, mutation.bytes);
  if (digest === undefined) return;
  if (digest === 'refused') return count(`${format}: read, and refused by qemu-img`);
  if (digest === whole.digest) return count(`${format}: read as qemu-img reads it`);
  const { sizeBytes, warnings } = whole;
  const reason = explanation({ format, bytes: mutation.bytes, sizeBytes, warnings });
  if (reason === undefined)
    report(mutation, `read differently by qemu-img; ${sizeBytes} bytes; warnings: ${warnings.join('; ')}`);
  else count(`${format}: read differently by qemu-img: ${reason}`);
}

/** Ways that end differently where none may: what is read whole is read in every way at random. */
function disagreements({ results }: Trial): string[] {
  const whole = results.find(({ way }) => way === 'whole')?.end;
  if (whole?.kind !== 'read') return [];
  return results
    .filter(({ way, end }) => end.kind === 'refused' && way !== 'forward' && way !== 'checked')
    .map(({ way, end }) => `${way}: ${'code' in end ? end.code : ''} where the whole disk is read`);
}

function report(mutation: Mutation, problem: string): void {
  findingCount++;
  count('findings');
  const keep = values.keep ?? join(tmpdir(), 'gantry-mutate-findings');
  mkdirSync(keep, { recursive: true });
  const path = join(keep, `${seed}-${mutation.index}.${mutation.base.format}`);
  writeFileSync(path, mutation.bytes);
  console.log(`\nFINDING in ${mutation.base.name}: ${problem}`);
  console.log(`  ${mutation.what}`);
  console.log(
    `  kept as ${path}; again with: npm run mutate -- --seed ${seed} --only ${mutation.index}${again()}\n`,
  );
}

function again(): string {
  return values.format === undefined ? '' : ` --format ${values.format}`;
}
