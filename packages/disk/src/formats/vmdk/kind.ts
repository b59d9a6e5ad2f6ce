import { hasMagic } from '../../bytes/fields.ts';
import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { COWD_MAGIC } from './cowd.ts';
import { looksLikeDescriptor } from './descriptor.ts';
import { SPARSE_MAGIC } from './header.ts';
import { SE_SPARSE_MAGIC } from './se-sparse.ts';

const HEAD_BYTES = 64 * 1024;

export type VmdkKind = 'sparse' | 'COWD' | 'seSparse' | 'descriptor';

/** The kind of VMDK file that begins with these bytes; undefined for no VMDK. */
export function vmdkKind(head: Uint8Array): VmdkKind | undefined {
  if (hasMagic(head, SPARSE_MAGIC)) return 'sparse';
  if (hasMagic(head, COWD_MAGIC)) return 'COWD';
  if (hasMagic(head, SE_SPARSE_MAGIC)) return 'seSparse';
  return looksLikeDescriptor(head) ? 'descriptor' : undefined;
}

/** The kind of VMDK file that a source is. Throws IMAGE_MALFORMED for none. */
export async function readKind(source: ByteSource, signal?: AbortSignal): Promise<VmdkKind> {
  const head = new Uint8Array(Math.min(HEAD_BYTES, source.lengthBytes));
  await source.read(0, head, signal);
  const kind = vmdkKind(head);
  if (kind !== undefined) return kind;
  throw new ImageError('IMAGE_MALFORMED', `${source.name} is not a VMDK file: no mark of one is there`, {
    structure: 'VMDK file',
    offsetBytes: 0,
  });
}
