import { createRequire } from 'node:module';
import { join } from 'node:path';

// As in gantry.mjs: sooner there than by an import.
const { readFileSync, statSync } = createRequire(import.meta.url)('node:fs');

/**
 * The folder of the bundle of `gantry disk` that bundle.mjs made, when every file that it was made from still is
 * as it was then: who edits a source never runs what was made of the one before. `root` is the project's folder.
 */
export function currentBundle(root) {
  try {
    const home = bundleHome(root);
    const { folder, inputs } = JSON.parse(readFileSync(join(home, 'current.json'), 'utf8'));
    // Joined by hand: there are hundreds.
    for (const [path, lengthBytes, modifiedMs] of inputs) {
      const { size, mtimeMs } = statSync(`${root}/${path}`);
      if (size !== lengthBytes || mtimeMs !== modifiedMs) return undefined;
    }
    return join(home, folder);
  } catch {
    // Never made, or one of its sources is no more.
    return undefined;
  }
}

/** Where bundles are kept. */
export function bundleHome(root) {
  return join(root, 'node_modules', '.cache', 'gantry', 'bundle');
}
