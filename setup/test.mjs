import { spawnSync } from 'node:child_process';
import {
  buildAccelerator,
  bundleCommand,
  ensureDependencies,
  projectEnvironment,
  root,
} from './dependencies.mjs';
import { ensureGuestPackages } from './guests.mjs';
import { ensurePeers } from './peers.mjs';

if (process.argv[2] === '--list') {
  console.log(testFiles().join('\n'));
  process.exit(0);
}
ensureDependencies();
ensurePeers();
ensureGuestPackages();
buildAccelerator({ required: true });
bundleCommand();

// The continuous integration draws the same cases each time: it tells whether a change broke something. Runs by
// hand search: each has another seed, and prints it.
const seed = process.env.GANTRY_TEST_SEED ?? (process.env.CI === 'true' ? '1' : String(Date.now() % 2 ** 31));
const environment = { ...projectEnvironment(), GANTRY_TEST_SEED: seed };
const only = process.argv.slice(2);
const started = Date.now();

if (only.length === 0) {
  step('types', 'tsc', ['-p', '.']);
  step('lint', 'biome', ['ci', '--error-on-warnings', '.']);
  step('unused code', 'knip', []);
}
// One runner executes every test file there is, below one temporary PostgreSQL.
const files = only.length > 0 ? only : testFiles();
console.log(`\nProperties draw from GANTRY_TEST_SEED=${seed}.`);
step('tests', 'node', [
  'setup/postgres.mjs',
  '--',
  'node',
  '--conditions=source',
  '--import=./setup/properties.mjs',
  '--test',
  '--test-concurrency=2',
  ...files,
]);
console.log(`\nAll passed in ${Math.round((Date.now() - started) / 1000)} s.`);

function testFiles() {
  const list = spawnSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.test.ts'], {
    cwd: root,
    encoding: 'utf8',
  });
  return list.stdout.split('\n').filter((file) => file !== '');
}

function step(title, command, args) {
  console.log(`\n== ${title}`);
  const run = spawnSync(command, args, {
    cwd: root,
    env: environment,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (run.status === 0) return;
  console.error(`\n${title} failed.`);
  process.exit(1);
}
