import assert from 'node:assert/strict';
import { test } from 'node:test';
import { families } from './families.ts';
import { runCases } from './runner.ts';
import { problemsOf } from './verdict.ts';

for (const family of families) {
  test(`hostile images of the family ${family.name} end with the right code or disk, within the limits`, async () => {
    const names = new Set<string>();
    const problems: string[] = [];
    for await (const trial of runCases(family.cases())) {
      if (names.has(trial.hostile.name)) problems.push(`two cases are named ${trial.hostile.name}`);
      names.add(trial.hostile.name);
      problems.push(...problemsOf(trial));
    }
    assert.deepEqual(problems, []);
    assert.ok(names.size > 5, `${names.size} cases`);
  });
}
