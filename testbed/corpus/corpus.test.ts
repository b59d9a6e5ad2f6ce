import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { families } from './families.ts';
import { Runner } from './runner.ts';
import { problemsOf } from './verdict.ts';

/** What docs/explanation/hostile-images.md says of their number. */
const PROMISED_CASES = 2000;
const runner = new Runner();
let caseCount = 0;
after(() => runner.stop());

for (const family of families) {
  test(`hostile images of the family ${family.name} end with the right code or disk, within the limits`, async () => {
    const names = new Set<string>();
    const problems: string[] = [];
    for await (const trial of runner.run(family.cases())) {
      if (names.has(trial.hostile.name)) problems.push(`two cases are named ${trial.hostile.name}`);
      names.add(trial.hostile.name);
      problems.push(...problemsOf(trial));
    }
    caseCount += names.size;
    assert.deepEqual(problems, []);
    assert.ok(names.size > 10, `${names.size} cases`);
  });
}

test('there are as many hostile images as the documentation says', () => {
  assert.ok(caseCount > PROMISED_CASES, `${caseCount} cases`);
});
