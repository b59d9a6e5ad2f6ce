/**
 * `node --conditions=source testbed/corpus/main.ts [WORD]…` tries the cases whose name has one of the words, all
 * without one, and prints what is wrong, and how much each family took. `--names` prints the cases as well.
 */
import { families } from './families.ts';
import { Runner } from './runner.ts';
import { problemsOf } from './verdict.ts';

const words = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const showsNames = process.argv.includes('--names');
const runner = new Runner();
let problemCount = 0;
for (const family of families) {
  const wanted = [...family.cases()].filter(
    ({ name }) => words.length === 0 || words.some((word) => name.includes(word) || family.name === word),
  );
  if (wanted.length === 0) continue;
  const started = performance.now();
  let cpuMs = 0;
  let grownBytes = 0;
  for await (const trial of runner.run(wanted)) {
    const problems = problemsOf(trial);
    problemCount += problems.length;
    for (const problem of problems) console.log(problem);
    if (showsNames) {
      const ends = trial.results.map(
        ({ way, end, cpuMs: ms }) => `${way} ${'code' in end ? end.code : end.kind} ${ms}`,
      );
      const grownMib = Math.round((trial.grownBytes ?? 0) / 2 ** 20);
      console.log(`  ${trial.hostile.name}: ${ends.join(', ')} ms, ${grownMib} MiB`);
    }
    for (const result of trial.results) cpuMs += result.cpuMs;
    grownBytes = Math.max(grownBytes, trial.grownBytes ?? 0);
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(
    `${family.name}: ${wanted.length} cases in ${seconds} s, ${Math.round(cpuMs / wanted.length)} ms of processor time a case, at most ${Math.round(grownBytes / 2 ** 20)} MiB`,
  );
}
runner.stop();
process.exitCode = problemCount > 0 ? 1 : 0;
