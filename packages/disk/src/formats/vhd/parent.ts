import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import type { OpenOptions } from '../format.ts';
import { type OpenedReference, openReference } from '../reference.ts';
import type { VhdDynamicHeader } from './dynamic-header.ts';
import { LOCATOR_STRUCTURE, readParentName } from './parent-name.ts';

export interface VhdParent extends OpenedReference {
  /** As the child spells it. */
  readonly name: string;
  readonly warnings: readonly string[];
}

/**
 * Opens the parent of a differencing disk through the gate. Throws IMAGE_REFERENCE when the gate refuses, and
 * when the file is another disk than the one that the child was made from.
 */
export async function openVhdParent(
  source: ByteSource,
  header: VhdDynamicHeader,
  options: OpenOptions,
): Promise<VhdParent> {
  const name = await readParentName(source, header, options.signal);
  const reference = { kind: 'parent', name, format: 'vhd', structure: LOCATOR_STRUCTURE } as const;
  const opened = await openReference(source, reference, options);
  const { uniqueId, timeStamp } = opened.disk.details;
  if (uniqueId !== header.parentUniqueId) {
    await opened.close();
    throw new ImageError(
      'IMAGE_REFERENCE',
      `the file for ${JSON.stringify(name)} has the unique id ${uniqueId ?? 'of no VHD'}, but the parent has ${header.parentUniqueId}`,
      {
        structure: 'VHD parent unique id',
        offsetBytes: header.offsetBytes + 40,
        hint: 'supply the right file',
      },
    );
  }
  const warnings: string[] = [];
  if (header.parentTimeStamp !== undefined && header.parentTimeStamp !== timeStamp) {
    warnings.push(
      `the parent was changed after this image was made from it: its time stamp is ${timeStamp}, not ${header.parentTimeStamp}`,
    );
  }
  return { ...opened, name, warnings };
}
