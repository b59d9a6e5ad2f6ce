import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { projectFiles, readProjectFile, root } from './files.ts';

test('every file that calls a test function is executed by npm test', () => {
  const executed = execFileSync('node', ['setup/test.mjs', '--list'], { cwd: root, encoding: 'utf8' })
    .split('\n')
    .filter((path) => path !== '')
    .sort();
  const withTests = projectFiles('*.ts', '*.mts', '*.tsx', '*.js', '*.mjs')
    .filter(
      (path) =>
        !path.endsWith('.testkit.ts') &&
        /from '(node:test|[^']+engines\.testkit\.ts)'/.test(readProjectFile(path)),
    )
    .sort();
  assert.ok(withTests.length > 10, `${withTests.length} files`);
  assert.deepEqual(executed, withTests);
});

test('no test is skipped, left to do or run alone', () => {
  const pattern =
    /\b(?:test|it|describe|suite|t|context)\.(?:skip|todo|only)\(|\b(?:skip|todo|only):\s*(?:true|['"])/;
  const offenders = projectFiles('*.test.ts', '*.testkit.ts').filter((path) =>
    pattern.test(readProjectFile(path)),
  );
  assert.deepEqual(
    offenders.filter((path) => path !== 'testbed/house/test-files.test.ts'),
    [],
  );
});
