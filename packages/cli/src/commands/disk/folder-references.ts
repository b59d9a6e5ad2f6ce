import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type ByteSource,
  type ReferenceGate,
  type ResolvedReference,
  storeError,
  suppliedReferences,
} from '@gantry/disk';

/**
 * The supplied files, and behind them the regular files that stand in a folder, each under exactly its own name.
 * No name with a path in it can be one of these, and a link is not followed, wherever it leads.
 */
export function withFolder(
  supplied: ReadonlyMap<string, () => Promise<ResolvedReference>>,
  folder: string | undefined,
  open: (file: string) => Promise<ByteSource>,
): ReferenceGate {
  const gate = suppliedReferences(supplied);
  if (folder === undefined) return gate;
  return {
    async resolve(reference, signal) {
      const { name } = reference;
      if (supplied.has(name) || !(await isRegularFileIn(folder, name)))
        return gate.resolve(reference, signal);
      return { source: await open(join(folder, name)) };
    },
  };
}

/** The folder's own list decides: no file system gets to read more into the name than is there. */
async function isRegularFileIn(folder: string, name: string): Promise<boolean> {
  const names = await readdir(folder).catch((error) => {
    throw storeError(error, folder);
  });
  if (!names.includes(name)) return false;
  return (await lstat(join(folder, name)).catch(() => undefined))?.isFile() === true;
}
