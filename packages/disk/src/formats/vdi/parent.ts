import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import type { OpenOptions } from '../format.ts';
import { type OpenedReference, openReference } from '../reference.ts';
import { NULL_UUID, type VdiHeader } from './header.ts';

const LINKAGE_STRUCTURE = 'VDI uuidLinkage';

export interface VdiParent extends OpenedReference {
  readonly warnings: readonly string[];
}

/**
 * Opens the parent of a differencing image through the gate. No file name is inside: the reference's name is the
 * parent's creation UUID. Throws IMAGE_REFERENCE when the gate refuses and when the file has another UUID. A parent
 * that was written to since is a warning, as for VirtualBox, which compares the creation UUID alone.
 */
export async function openVdiParent(
  source: ByteSource,
  header: VdiHeader,
  options: OpenOptions,
): Promise<VdiParent> {
  const name = header.uuidLinkage;
  const reference = { kind: 'parent', name, format: 'vdi', structure: LINKAGE_STRUCTURE } as const;
  const opened = await openReference(source, reference, options);
  const { uuidCreate, uuidModify } = opened.disk.details;
  if (uuidCreate !== name) {
    await opened.close();
    throw new ImageError(
      'IMAGE_REFERENCE',
      `the file for parent ${name} has the UUID ${uuidCreate ?? 'of no VDI'}`,
      { structure: LINKAGE_STRUCTURE, offsetBytes: header.places.uuidLinkage, hint: 'supply the right file' },
    );
  }
  const warnings: string[] = [];
  if (header.uuidParentModify !== NULL_UUID && header.uuidParentModify !== uuidModify) {
    warnings.push(
      `the parent was changed after this image was made from it: its modification UUID is ${uuidModify}, not ${header.uuidParentModify}`,
    );
  }
  return { ...opened, warnings };
}
