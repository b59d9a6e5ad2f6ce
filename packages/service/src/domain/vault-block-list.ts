import type { Database } from '../db/database.ts';
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

/**
 * The list of a sealed manifest's blocks, for another region's service. Its ETag is that of the image's content.
 * Throws STORE_NOT_FOUND, CONFLICT for a manifest that is not complete.
 */
export async function openVaultBlockList({ kysely }: Database, manifestId: string): Promise<ReadableBytes> {
  const manifest = await requireManifest(kysely, manifestId);
  const { disk_digest: diskDigest, virtual_size_bytes: virtualSizeBytes } = manifest;
  if (diskDigest === null) throw new DomainError('CONFLICT', `manifest ${manifestId} is not complete`);
  const places: ChunkPlace[] = [];
  let blockCount = 0;
  for await (const { index, count } of readableChunks(kysely, manifestId)) {
    places.push({ index, before: blockCount, count });
    blockCount += count;
  }
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
