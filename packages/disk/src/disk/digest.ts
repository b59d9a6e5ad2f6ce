import { hexText, isZero } from '../bytes/fields.ts';
import { MIB } from '../bytes/numbers.ts';
import { mapOrdered } from '../convert/bounded.ts';
import { BufferPool } from '../convert/buffer-pool.ts';
import type { ProgressListener } from '../convert/progress.ts';
import { invariant } from '../errors.ts';
import { sha256 } from '../io/node-hash.ts';
import { readZeroExtended } from '../view/view.ts';
import { dataRuns } from './data-runs.ts';
import type { Disk } from './disk.ts';

/** Guest bytes of a leaf. */
export const DIGEST_BLOCK_BYTES: number = 256 * 1024;
/** Levels above the leaves: the tree covers 2^45 blocks of 2^18 bytes, so every disk up to 2^63 bytes. */
export const DIGEST_TREE_HEIGHT = 45;
/** Stands before the hex root in the text form; names the version of the specification. */
export const DIGEST_PREFIX = 'disk1:';

const ZERO_NODE: Uint8Array = new Uint8Array(32);

/** How far a digest has come: plain data, to go on with in another process. */
export interface DigestTreeState {
  /** Of the last leaf; -1 before the first. */
  readonly index: number;
  /** The last leaf's hash, in hex. */
  readonly hash: string;
  /** The finished left siblings on the path of the last leaf, by their level, in hex; empty where there is none. */
  readonly left: readonly string[];
}

/**
 * The disk digest as its leaves come, in order of their index, all-zero blocks left out. Specification:
 * docs/reference/disk-digest.md. Memory: one hash a level.
 */
export class DigestTree {
  /** The finished left sibling that waits at each level of the current path. */
  readonly #left: (Uint8Array | undefined)[] = [];
  #index = -1;
  #hash: Uint8Array = ZERO_NODE;

  /** From the start, or from where another tree was. */
  constructor(state?: DigestTreeState) {
    if (state === undefined) return;
    this.#index = state.index;
    this.#hash = state.index < 0 ? ZERO_NODE : Uint8Array.fromHex(state.hash);
    this.#left = state.left.map((hex) => (hex === '' ? undefined : Uint8Array.fromHex(hex)));
  }

  get state(): DigestTreeState {
    const left = Array.from(this.#left, (node) => (node === undefined ? '' : hexText(node)));
    return { index: this.#index, hash: hexText(this.#hash), left };
  }

  /** `index` rises from call to call; `leafHash` is the SHA-256 of exactly one block, not all zero. */
  add(index: number, leafHash: Uint8Array): void {
    invariant(index > this.#index, 'leaves come in order');
    if (this.#index >= 0) this.#climbBelow(index);
    this.#index = index;
    this.#hash = leafHash;
  }

  /** The text form of the root. Call once, after the last leaf. */
  finish(): string {
    let node = this.#hash;
    let position = Math.max(this.#index, 0);
    for (let level = 0; level < DIGEST_TREE_HEIGHT; level++) {
      node = this.#parent(level, position, node);
      position = Math.floor(position / 2);
    }
    return DIGEST_PREFIX + hexText(node);
  }

  /** Finishes every node of the current path that does not also stand above `next`. */
  #climbBelow(next: number): void {
    let node = this.#hash;
    let position = this.#index;
    let other = next;
    let level = 0;
    while (Math.floor(position / 2) !== Math.floor(other / 2)) {
      node = this.#parent(level, position, node);
      position = Math.floor(position / 2);
      other = Math.floor(other / 2);
      level++;
    }
    this.#left[level] = node;
  }

  #parent(level: number, position: number, node: Uint8Array): Uint8Array {
    if (position % 2 === 0) return parentOf(node, ZERO_NODE);
    const left = this.#left[level] ?? ZERO_NODE;
    this.#left[level] = undefined;
    return parentOf(left, node);
  }
}

function parentOf(left: Uint8Array, right: Uint8Array): Uint8Array {
  if (left === ZERO_NODE && right === ZERO_NODE) return ZERO_NODE;
  const pair = new Uint8Array(64);
  pair.set(left);
  pair.set(right, 32);
  return sha256(pair);
}

export interface DigestOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

const RUN_BYTES = MIB;
const RUNS_AT_ONCE = 8;

/**
 * The digest of what the guest sees, the same for every format: `disk1:` and 64 hex digits. Reads allocated
 * data once; holes and zeros cost nothing. Memory: 8 MiB of buffers.
 */
export async function diskDigest(disk: Disk, options: DigestOptions = {}): Promise<string> {
  const tree = new DigestTree();
  const pool = new BufferPool(RUN_BYTES);
  const totalBytes = disk.virtualSizeBytes;
  const { signal } = options;
  const passed = (doneBytes: number) =>
    options.onProgress?.({ phase: 'digest', doneBytes: Math.min(doneBytes, totalBytes), totalBytes });
  const runs = dataRuns(disk, DIGEST_BLOCK_BYTES, RUN_BYTES, { signal, phase: 'digest' });
  const read = async (run: { offsetBytes: number; lengthBytes: number }) => {
    const buffer = pool.take();
    await readZeroExtended(disk, run.offsetBytes, buffer.subarray(0, run.lengthBytes), signal);
    return { run, buffer };
  };
  for await (const { run, buffer } of mapOrdered(runs, RUNS_AT_ONCE, read)) {
    for (let at = 0; at < run.lengthBytes; at += DIGEST_BLOCK_BYTES) {
      const block = buffer.subarray(at, at + DIGEST_BLOCK_BYTES);
      if (!isZero(block)) tree.add((run.offsetBytes + at) / DIGEST_BLOCK_BYTES, sha256(block));
    }
    pool.give(buffer);
    passed(run.offsetBytes + run.lengthBytes);
  }
  passed(totalBytes);
  return tree.finish();
}
