import type { Database } from '../db/database.ts';
import type { Queries } from '../db/transactions.ts';
import { Lru } from '../vault/lru.ts';
import { CHUNK_BLOCKS } from '../vault/manifest-chunk.ts';
import { findChunk, readableChunks, requireManifest } from '../vault/manifests.ts';
import { DomainError } from './errors.ts';
import { blockListSource, type ListedBlock } from './image-blocks.ts';
import type { ReadableBytes } from './object-reader.ts';

/** How many listed blocks stand before a chunk of a manifest. */
interface ChunkPlace {
  readonly index: number;
  readonly before: number;
  readonly count: number;
}

/** Images whose places are remembered: a client reads a list range by range, each a request of its own. */
const KEPT_IMAGES = 8;

/** Opens lists of blocks of this vault, see openList. */
export function vaultBlockLists({ kysely }: Database): (manifestId: string) => Promise<ReadableBytes> {
  const kept = new Lru<string, readonly ChunkPlace[]>(KEPT_IMAGES);
  return (manifestId) => openList(kysely, kept, manifestId);
}

/**
 * The list of a sealed manifest's blocks, for another region's service. Its ETag is that of the image's content.
 * Throws STORE_NOT_FOUND, CONFLICT for a manifest that is not complete.
 */
async function openList(
  kysely: Queries,
  kept: Lru<string, readonly ChunkPlace[]>,
  manifestId: string,
): Promise<ReadableBytes> {
  const manifest = await requireManifest(kysely, manifestId);
  const { disk_digest: diskDigest, virtual_size_bytes: virtualSizeBytes } = manifest;
  if (diskDigest === null) throw new DomainError('CONFLICT', `manifest ${manifestId} is not complete`);
  const places = kept.get(manifestId) ?? (await placesOf(kysely, manifestId));
  kept.set(manifestId, places);
  const last = places.at(-1);
  const blockCount = last === undefined ? 0 : last.before + last.count;
  const blocks = async (from: number, to: number) => {
    const listed: ListedBlock[] = [];
    for (const place of places) {
      if (place.before + place.count <= from || place.before >= to) continue;
      const chunk = await findChunk(kysely, manifestId, place.index);
      if (chunk === undefined) {
        await requireManifest(kysely, manifestId);
        continue;
      }
      const ofChunk = [...chunk.blocks()].slice(Math.max(0, from - place.before), to - place.before);
      for (const block of ofChunk) {
        listed.push({ block: place.index * CHUNK_BLOCKS + block, hash: chunk.hash(block).slice() });
      }
    }
    return listed;
  };
  const name = `blocks of ${manifestId}`;
  const source = blockListSource(name, { virtualSizeBytes, diskDigest, blockCount, blocks });
  return { source, etag: `blocks-${diskDigest.slice(diskDigest.indexOf(':') + 1)}-${virtualSizeBytes}` };
}

/** All chunks are read once for it. */
async function placesOf(queries: Queries, manifestId: string): Promise<readonly ChunkPlace[]> {
  const places: ChunkPlace[] = [];
  let before = 0;
  for await (const { index, count } of readableChunks(queries, manifestId)) {
    places.push({ index, before, count });
    before += count;
  }
  return places;
}
