// Runs on the Node that a fresh machine has (20 or later): plain JavaScript, no dependencies.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stamp = join(root, 'node_modules', '.cache', 'gantry', 'installed');

/** The environment in which the project's own Node and tools come first. */
export function projectEnvironment() {
  return { ...process.env, PATH: `${join(root, 'node_modules', '.bin')}${delimiter}${process.env.PATH}` };
}

/**
 * Builds the native accelerator, unless it was built from these sources already. Without a compiler the engine
 * goes on without it; `required` ends the process then.
 */
export function buildAccelerator({ required = false } = {}) {
  const options = required ? ['--required'] : [];
  const build = spawnSync(process.execPath, [join(root, 'packages', 'native', 'build.mjs'), ...options], {
    stdio: ['ignore', 2, 2],
  });
  if (required && build.status !== 0) process.exit(1);
}

/** Makes the bundle that `gantry disk` starts from, unless it was made from these sources already. */
export function bundleCommand() {
  spawnSync(process.execPath, [join(root, 'packages', 'cli', 'bundle.mjs')], { stdio: ['ignore', 2, 2] });
}

/** Installs what the lock file says, unless that was done already for this very lock file. */
export function ensureDependencies() {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  const installed = existsSync(stamp) && readFileSync(stamp, 'utf8') === lock;
  if (installed && existsSync(join(root, 'node_modules', '.bin', 'node'))) return;
  console.error('Installing the packages that the project needs (once; it takes about half a minute) …');
  const npm = spawnSync('npm', ['ci', '--no-fund', '--no-audit', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
  });
  if (npm.status !== 0) {
    console.error('npm ci failed; see the lines above. Mend that, then run the command again.');
    process.exit(1);
  }
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, lock);
}
