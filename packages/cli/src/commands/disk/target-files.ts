import { basename, dirname, extname, join } from 'node:path';
import { type FileSet, fileSource, type ReferenceGate, suppliedReferences } from '@gantry/disk';
import { targetPath } from '../../output/target-file.ts';
import { plannedLength } from './plan.ts';

/** What the files of an image of several files are named after. */
export function baseNameOf(target: string): string {
  return target === '-' ? 'disk' : basename(target, extname(target));
}

/** Where the files of an image go: the one to open under the target's own name, the others beside it. */
export class TargetFiles {
  readonly #target: string;
  readonly #sources: readonly string[];
  /** By the name that the plan gives it; the first is the one to open. */
  readonly #paths = new Map<string, string>();

  constructor(target: string, sources: readonly string[]) {
    this.#target = target;
    this.#sources = sources;
  }

  /** Where a file is written. Throws STORE_REFUSED when one of the files that are read would be destroyed. */
  async place(name: string): Promise<{ readonly path: string; readonly isFirst: boolean }> {
    const isFirst = this.#paths.size === 0;
    const path = await targetPath(isFirst ? this.#target : this.#beside(name), this.#sources);
    this.#paths.set(name, path);
    return { path, isFirst };
  }

  /** The file as the user would name it. */
  shown(name: string): string {
    return name === this.#paths.keys().next().value ? this.#target : this.#beside(name);
  }

  /** The files beside the first, under their names, as soon as they are written. */
  get others(): ReferenceGate {
    const [, ...others] = this.#paths;
    return suppliedReferences(
      new Map(others.map(([name, path]) => [name, async () => ({ source: await fileSource(path) })])),
    );
  }

  #beside(name: string): string {
    return join(dirname(this.#target), name);
  }
}

export interface PlannedFile {
  readonly file: string;
  readonly requiredBytes: number;
  readonly exact: boolean;
}

/** What the files of a set would be. Throws as writing them would, when one of them is read. */
export async function plannedFiles(
  set: FileSet,
  target: string,
  sources: readonly string[],
): Promise<readonly PlannedFile[]> {
  const places = new TargetFiles(target, sources);
  const planned: PlannedFile[] = [];
  for (const { name, plan } of set.files) {
    await places.place(name);
    planned.push({ file: places.shown(name), ...plannedLength(plan) });
  }
  return planned;
}
