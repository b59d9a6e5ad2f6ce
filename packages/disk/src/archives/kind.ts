import { hasMagic } from '../bytes/fields.ts';
import { isTarHeader } from './tar/header.ts';
import { membersInHead } from './tar/reader.ts';

export const METADATA_NAME = 'image_metadata.json';
export const QCOW2_MARK = 'QFI\xfb';

/** What a tar archive is the package of, as far as its first 64 KiB show; undefined for what is no tar. */
export type ArchiveKind = 'ova' | 'oci' | 'other' | undefined;

export function archiveKind(head: Uint8Array): ArchiveKind {
  if (!isTarHeader(head)) return undefined;
  const files = membersInHead(head).filter(({ kind }) => kind === 'file');
  // DSP0243, 6.3.1: the descriptor is the first file of an OVA.
  if (files[0]?.name.toLowerCase().endsWith('.ovf')) return 'ova';
  const isOci = files.some(
    ({ name, offsetBytes }) => name === METADATA_NAME || hasMagic(head, QCOW2_MARK, offsetBytes),
  );
  return isOci ? 'oci' : 'other';
}
