import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './dependencies.mjs';

/** Where testbed/guests/packages.ts looks for them. */
const folder = join(root, 'node_modules/.cache/gantry/packages');

/** Fetches Debian's packages that guests of the tests are made from. None is installed: they are only unpacked. */
export function ensureGuestPackages() {
  mkdirSync(folder, { recursive: true });
  const present = readdirSync(folder);
  const wanted = [
    { file: /^linux-image-\d[^_]*-amd64_/, name: newestKernel },
    { file: /^busybox-static_/, name: () => 'busybox-static' },
  ].filter(({ file }) => !present.some((name) => file.test(name)));
  if (wanted.length === 0) return;
  const fetch = () => download(wanted.map(({ name }) => name()));
  // What apt knows may be of long ago, or nothing yet.
  if (fetch() || (updateLists() && fetch())) return;
  console.error(
    'The packages that guests of the tests are made from could not be fetched; see the lines above.',
  );
  process.exit(1);
}

/** The package with a version in its name that this one stands for; itself when apt does not know. */
function newestKernel() {
  // In other languages the word before it is another one.
  const env = { ...process.env, LC_ALL: 'C' };
  const { stdout } = spawnSync('apt-cache', ['depends', 'linux-image-amd64'], { encoding: 'utf8', env });
  return /^\s*Depends: (linux-image-\S+)$/m.exec(stdout ?? '')?.[1] ?? 'linux-image-amd64';
}

/** Has the packages in the folder, whole, when it returns true. */
function download(names) {
  console.error(`Fetching what guests of the tests are made from: ${names.join(', ')} …`);
  const arriving = join(folder, `arriving-${process.pid}`);
  mkdirSync(arriving);
  try {
    const options = { cwd: arriving, stdio: ['ignore', 2, 2] };
    if (spawnSync('apt-get', ['download', '--quiet', ...names], options).status !== 0) return false;
    for (const name of readdirSync(arriving)) renameSync(join(arriving, name), join(folder, name));
    return true;
  } finally {
    rmSync(arriving, { recursive: true });
  }
}

function updateLists() {
  if (process.getuid?.() !== 0) {
    console.error('apt does not know today’s packages. Run this once, then npm test again:');
    console.error('\n  sudo apt-get update\n');
    process.exit(1);
  }
  return spawnSync('apt-get', ['update', '--quiet'], { stdio: ['ignore', 2, 2] }).status === 0;
}
