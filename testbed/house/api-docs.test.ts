import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { root } from './files.ts';

test('the page of the API is what the sources say', () => {
  execFileSync(process.execPath, ['setup/api-docs.mjs', '--check'], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
});
