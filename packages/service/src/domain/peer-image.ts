import { type ByteSource, httpSource, StoreError } from '@gantry/disk';
import type { guardedFetch } from '@gantry/storage';
import { BLOCK_LIST_TYPE, type BlockListHead, RAW_DISK_TYPE, readBlockListHead } from './image-blocks.ts';

/** An image that another region's service shows as a file: its blocks, and the guest's bytes. */
export interface PeerImage {
  readonly head: BlockListHead;
  readonly list: ByteSource;
  readonly disk: ByteSource;
  close(): Promise<void>;
}

/** The header that tells that a file is an image of a service like this one. */
export const DISK_DIGEST_HEADER = 'gantry-disk-digest';

/** The image behind an address of another region; undefined when what is there is a file like any other. */
export async function openPeerImage(
  address: string,
  fetch: ReturnType<typeof guardedFetch>,
  signal: AbortSignal,
): Promise<PeerImage | undefined> {
  const answer = await fetch(address, { method: 'HEAD', headers: {}, signal });
  for await (const _ of answer.body ?? []);
  const digest = answer.headers.get(DISK_DIGEST_HEADER);
  if (answer.status !== 200 || digest === null) return undefined;
  const as = (accept: string) => httpSource(address, { fetch, signal, headers: { accept } });
  const list = await as(BLOCK_LIST_TYPE);
  try {
    const head = await readBlockListHead(list, signal);
    if (head.diskDigest !== digest) {
      throw new StoreError('STORE_CHANGED', `${list.name} shows another image than a moment ago`, {
        where: list.name,
        hint: 'import it again',
      });
    }
    const disk = await as(RAW_DISK_TYPE);
    const close = async () => {
      await list.close();
      await disk.close();
    };
    return { head, list, disk, close };
  } catch (error) {
    await list.close();
    throw error;
  }
}
