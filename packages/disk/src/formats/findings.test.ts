import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkFindingLimit, Findings } from './findings.ts';

test('a report counts every finding and lists a limited number', () => {
  const findings = new Findings();
  for (let i = 0; i < checkFindingLimit + 5; i++) findings.add('corruption', 'table', `entry ${i}`, i);
  findings.add('leak', 'table', 'unused block');
  const report = findings.report('vdi');
  assert.equal(report.findings.length, checkFindingLimit);
  assert.deepEqual(
    [report.corruptionCount, report.leakCount, report.warningCount],
    [checkFindingLimit + 5, 1, 0],
  );
});
