import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { KyselyPlugin, RootOperationNode } from 'kysely';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import { insertImage } from '../db/repositories/images.ts';
import { imageRow, makeTenancy } from '../db/repositories/rows.testkit.ts';
import { BLOCK_BYTES, PIECE_BYTES } from './block-record.ts';
import { Vault, type VaultOptions } from './vault.ts';
import type { VaultDisk } from './vault-disk.ts';
import type { VaultWriter } from './writer.ts';

/** What a piece of a test disk holds: nothing, bytes that compress, bytes that do not. */
export type PieceKind = 'zero' | 'text' | 'noise';

/** A block's content by the kinds of its four pieces; the same seed gives the same bytes. */
export interface BlockContent {
  readonly seed: number;
  readonly pieces: readonly PieceKind[];
}

/** The blocks of a disk that are not left out. */
export type DiskContent = ReadonlyMap<number, BlockContent>;

export function blockBytes({ seed, pieces }: BlockContent): Uint8Array {
  const bytes = new Uint8Array(BLOCK_BYTES);
  for (const [i, kind] of pieces.entries()) {
    if (kind !== 'zero') bytes.set(pieceBytes(kind, seed * 4 + i), i * PIECE_BYTES);
  }
  return bytes;
}

function pieceBytes(kind: PieceKind, seed: number): Uint8Array {
  const noise = createHash('shake128', { outputLength: PIECE_BYTES }).update(`${seed}`).digest();
  if (kind === 'noise') return noise;
  const text = new Uint8Array(PIECE_BYTES);
  for (let at = 0; at < PIECE_BYTES; at++) text[at] = 97 + ((noise[at % 509] ?? 0) % 16);
  return text;
}

/** The bytes [from, to) of a disk of this content, zero beyond its end. */
export function diskRange(
  content: DiskContent,
  from: number,
  to: number,
  virtualSizeBytes: number,
): Uint8Array {
  const first = Math.floor(from / BLOCK_BYTES);
  const end = Math.ceil(to / BLOCK_BYTES);
  const bytes = new Uint8Array((end - first) * BLOCK_BYTES);
  for (let block = first; block < end; block++) {
    const blockContent = content.get(block);
    if (blockContent !== undefined) bytes.set(blockBytes(blockContent), (block - first) * BLOCK_BYTES);
  }
  const start = first * BLOCK_BYTES;
  bytes.fill(0, Math.min(bytes.length, virtualSizeBytes - start));
  return bytes.subarray(from - start, to - start);
}

/** All bytes of a disk of this content. */
export function diskBytes(content: DiskContent, virtualSizeBytes: number): Uint8Array {
  return diskRange(content, 0, virtualSizeBytes, virtualSizeBytes);
}

/** The pieces that hold something, counted from the disk's start. */
export function nonZeroPieces(content: DiskContent, virtualSizeBytes: number): number[] {
  return [...content]
    .flatMap(([block, { pieces }]) => pieces.flatMap((kind, i) => (kind === 'zero' ? [] : [block * 4 + i])))
    .filter((piece) => piece * PIECE_BYTES < virtualSizeBytes);
}

/** `count` blocks one after the other, each of its own bytes. */
export function distinctBlocks(count: number, firstSeed = 0, kind: PieceKind = 'noise'): DiskContent {
  const pieces: PieceKind[] = [kind, 'text', 'text', 'text'];
  return new Map(Array.from({ length: count }, (_, i) => [i, { seed: firstSeed + i, pieces }]));
}

/** Puts the blocks of a disk, in order; the bytes beyond the virtual size are zero. */
export async function putAll(
  writer: VaultWriter,
  content: DiskContent,
  from: number = writer.nextBlock,
): Promise<void> {
  for (const [block, blockContent] of [...content].sort(([a], [b]) => a - b)) {
    if (block < from) continue;
    const bytes = blockBytes(blockContent);
    bytes.fill(0, Math.max(0, Math.min(BLOCK_BYTES, writer.virtualSizeBytes - block * BLOCK_BYTES)));
    await writer.put(block, bytes);
  }
}

/** Imports a disk and seals it; returns its manifest's id. */
export async function importDisk(
  vault: Vault,
  content: DiskContent,
  virtualSizeBytes = 64 * BLOCK_BYTES,
): Promise<string> {
  const writer = await vault.beginManifest(virtualSizeBytes);
  await putAll(writer, content);
  await sealAsListed(vault, writer);
  return writer.manifestId;
}

export async function sealAsListed(vault: Vault, writer: VaultWriter): Promise<void> {
  await writer.checkpoint();
  const digest = await withDisk(vault, writer.manifestId, (disk) => disk.listedDigest());
  await writer.seal(digest);
}

export async function withDisk<Result>(
  vault: Vault,
  manifestId: string,
  use: (disk: VaultDisk) => Promise<Result>,
): Promise<Result> {
  const disk = await vault.openManifest(manifestId);
  try {
    return await use(disk);
  } finally {
    await disk.close();
  }
}

export function readDisk(vault: Vault, manifestId: string): Promise<Uint8Array> {
  return withDisk(vault, manifestId, async (disk) => {
    const bytes = new Uint8Array(disk.virtualSizeBytes).fill(0xee);
    await disk.read(0, bytes);
    return bytes;
  });
}

/** Quick also where a difference would print 16 MiB. */
export function assertSameBytes(actual: Uint8Array, expected: Uint8Array): void {
  assert.equal(actual.length, expected.length);
  assert.equal(Buffer.compare(actual, expected), 0, 'the bytes differ');
}

/** A fresh folder, removed at the end. */
export async function withFolder<Result>(use: (folder: string) => Promise<Result>): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-vault-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** A vault in a fresh folder, closed at the end. */
export function withVault(
  database: Database,
  use: (vault: Vault, folder: string) => Promise<void>,
  options: Partial<VaultOptions> = {},
): Promise<void> {
  return withFolder(async (folder) => {
    const vault = await Vault.open({ folder, database, threads: 2, ...options });
    try {
      await use(vault, folder);
    } finally {
      await vault.close();
    }
  });
}

/** Asserts that a check that reads everything finds nothing. */
export async function assertClean(vault: Vault): Promise<void> {
  assert.deepEqual((await vault.check({ data: true })).findings, []);
}

/** An image that shows a manifest, so that collections keep it; returns its id. */
export async function addImage({ kysely }: Database, manifestId: string): Promise<string> {
  const tenancy = await makeTenancy(kysely, newId('ten'));
  const row = imageRow(tenancy.id, manifestId);
  await insertImage(kysely, row);
  return row.id;
}

export const nothingInUse = async (): Promise<string[]> => [];

/** A database in which one query, once its rows are read, waits until it is let go. */
export interface PausingDatabase {
  readonly database: Database;
  /** The next query whose parts, as JSON, hold all of these words is to wait. */
  arm(...words: string[]): void;
  /** When it waits. */
  reached(): Promise<void>;
  release(): void;
}

export function pausingDatabase(database: Database): PausingDatabase {
  let words: string[] | undefined;
  let waiting: object | undefined;
  let reached = Promise.withResolvers<void>();
  let released = Promise.withResolvers<void>();
  const plugin: KyselyPlugin = {
    transformQuery({ node, queryId }): RootOperationNode {
      const parts = JSON.stringify(node);
      if (words?.every((word) => parts.includes(word))) {
        words = undefined;
        waiting = queryId;
      }
      return node;
    },
    async transformResult({ result, queryId }) {
      if (queryId === waiting) {
        reached.resolve();
        await released.promise;
      }
      return result;
    },
  };
  return {
    database: { ...database, kysely: database.kysely.withPlugin(plugin) },
    arm(...some) {
      words = some;
      reached = Promise.withResolvers();
      released = Promise.withResolvers();
    },
    reached: () => reached.promise,
    release: () => released.resolve(),
  };
}

/** Puts blocks whose content the vault has, and waits until it was found: nothing is committed yet. */
export async function putKnown(writer: VaultWriter, content: DiskContent): Promise<void> {
  await putAll(writer, content);
  while (writer.counts.knownBlocks < content.size) await setImmediate();
}
