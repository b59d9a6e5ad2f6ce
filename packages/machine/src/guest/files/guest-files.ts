import type { ByteSource } from '@gantry/disk';
import { malformed, tooMany, utf8Text } from '../fields.ts';
import {
  KEPT_NAME_COUNT,
  PATH_BYTES_MAX,
  PATH_DEPTH_MAX,
  SYMLINK_COUNT_MAX,
  TEXT_BYTES_MAX,
} from '../limits.ts';
import type { DirectoryEntry, FileRun, FileSystem, GuestNode, Place } from './file-system.ts';
import { wholeOf } from './runs.ts';

/** A file that was found, and the file system that it is in. */
interface FoundNode {
  readonly system: FileSystem;
  readonly node: GuestNode;
  /** After its symlinks. */
  readonly path: string;
}

interface Directory {
  readonly entries: readonly DirectoryEntry[];
  readonly byName: ReadonlyMap<string, Place>;
}

/** The files of a guest under their paths, its file systems mounted upon each other. Paths begin with `/`. */
export class GuestFiles {
  readonly #mounts: ReadonlyMap<string, FileSystem>;
  readonly #kept: Map<string, Directory> = new Map();
  #keptNames = 0;
  readonly #ids: Map<FileSystem, number> = new Map();

  /** `mounts` by their paths; `/` is one of them. */
  constructor(mounts: ReadonlyMap<string, FileSystem>) {
    this.#mounts = mounts;
    for (const system of mounts.values()) this.#ids.set(system, this.#ids.size);
  }

  /** The names in a directory; none where it is not there. */
  async names(path: string): Promise<readonly string[]> {
    const found = await this.#find(path);
    if (found?.node.kind !== 'directory') return [];
    return (await this.#directory(found)).entries.map(({ name }) => name);
  }

  async has(path: string): Promise<boolean> {
    return (await this.#find(path)) !== undefined;
  }

  /** The path after its symlinks; undefined where nothing is there. */
  async realPath(path: string): Promise<string | undefined> {
    return (await this.#find(path))?.path;
  }

  /** Length of a file in bytes; undefined where there is none. */
  async sizeBytes(path: string): Promise<number | undefined> {
    const found = await this.#find(path);
    return found?.node.kind === 'file' ? found.node.sizeBytes : undefined;
  }

  /** The first bytes of a file as a source; undefined where there is none. */
  async open(path: string, limitBytes: number): Promise<ByteSource | undefined> {
    const found = await this.#find(path);
    if (found?.node.kind !== 'file') return undefined;
    return found.system.open(found.node, limitBytes);
  }

  /** Where the bytes of a file stand in its volume (see `FileSystem.runs`); undefined where there is no such file. */
  async runs(path: string): Promise<readonly FileRun[] | undefined> {
    const found = await this.#find(path);
    return found?.node.kind === 'file' ? found.system.runs?.(found.node) : undefined;
  }

  /** The first bytes of a file; fewer where it is shorter, undefined where there is none. */
  async head(path: string, lengthBytes: number): Promise<Uint8Array | undefined> {
    const source = await this.open(path, lengthBytes);
    return source === undefined ? undefined : wholeOf(source, lengthBytes, path);
  }

  /** The start of a file as text; undefined where there is none. */
  async text(path: string, limitBytes: number = TEXT_BYTES_MAX): Promise<string | undefined> {
    const bytes = await this.head(path, limitBytes);
    return bytes === undefined ? undefined : utf8Text(bytes);
  }

  /** Follows symlinks, also the last one. */
  async #find(path: string): Promise<FoundNode | undefined> {
    if (path.length > PATH_BYTES_MAX) throw tooMany('path', PATH_BYTES_MAX);
    const wanted = path
      .split('/')
      .filter((name) => name !== '' && name !== '.')
      .reverse();
    const stack: FoundNode[] = [await this.#mounted('/')];
    let links = 0;
    for (let name = wanted.pop(); name !== undefined; name = wanted.pop()) {
      if (name === '..') {
        if (stack.length > 1) stack.pop();
        continue;
      }
      const here = stack.at(-1);
      if (here?.node.kind !== 'directory') return undefined;
      if (stack.length > PATH_DEPTH_MAX) throw tooMany('folders in each other', PATH_DEPTH_MAX);
      const next = await this.#child(here, name);
      if (next === undefined) return undefined;
      if (next.node.kind !== 'symlink' || next.system.readLink === undefined) {
        stack.push(next);
        continue;
      }
      if (++links > SYMLINK_COUNT_MAX) throw malformed(path, `more than ${SYMLINK_COUNT_MAX} symlinks`);
      const target = await next.system.readLink(next.node);
      if (target.startsWith('/')) stack.length = 1;
      wanted.push(
        ...target
          .split('/')
          .filter((part) => part !== '' && part !== '.')
          .reverse(),
      );
      if (wanted.length > PATH_BYTES_MAX) throw tooMany('path', PATH_BYTES_MAX);
    }
    return stack.at(-1);
  }

  async #child(parent: FoundNode, name: string): Promise<FoundNode | undefined> {
    const path = parent.path === '/' ? `/${name}` : `${parent.path}/${name}`;
    if (this.#mounts.has(path)) return this.#mounted(path);
    const { system } = parent;
    const { byName } = await this.#directory(parent);
    const place = byName.get(system.ignoresCase ? name.toUpperCase() : name);
    return place === undefined ? undefined : { system, node: await system.node(place), path };
  }

  async #mounted(path: string): Promise<FoundNode> {
    const system = this.#mounts.get(path);
    if (system === undefined) throw malformed('files', 'no file system is mounted at /');
    return { system, node: await system.node(system.root), path };
  }

  async #directory({ system, node }: FoundNode): Promise<Directory> {
    const key = `${this.#ids.get(system)}:${node.place}`;
    const found = this.#kept.get(key);
    if (found !== undefined) return found;
    const entries = await system.list(node);
    const byName = new Map<string, Place>();
    for (const { name, place } of entries) {
      const asked = system.ignoresCase ? name.toUpperCase() : name;
      if (!byName.has(asked)) byName.set(asked, place);
    }
    const directory = { entries, byName };
    this.#kept.set(key, directory);
    this.#keptNames += entries.length + 1;
    for (const [oldest, { entries: names }] of this.#kept) {
      if (this.#keptNames <= KEPT_NAME_COUNT || oldest === key) break;
      this.#kept.delete(oldest);
      this.#keptNames -= names.length + 1;
    }
    return directory;
  }
}
