import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { OVF_BYTES_MAX } from '../ovf/limits.ts';
import { tarMembers } from '../tar/reader.ts';
import { isDescriptor, wholeMember } from './contents.ts';

/** The descriptor of an appliance. */
export interface OvaDescriptor {
  /** As the archive calls it: `web.ovf`. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * The OVF descriptor of an OVA, as it is, without its disks. Of an archive that arrives, the first member that is one;
 * of another, the only one. Throws IMAGE_MALFORMED where there is none, or another beside it, IMAGE_LIMIT above 1 MiB,
 * and what a malformed archive throws.
 */
export async function readOvaDescriptor(source: ByteSource, signal?: AbortSignal): Promise<OvaDescriptor> {
  let found: OvaDescriptor | undefined;
  for await (const member of tarMembers(source, signal)) {
    if (!isDescriptor(member)) continue;
    if (found !== undefined) throw malformed(source, 'holds more than one OVF descriptor');
    found = { name: member.name, bytes: await wholeMember(member, OVF_BYTES_MAX, signal) };
    if (source.sequential) break;
  }
  if (found === undefined) throw malformed(source, 'holds no OVF descriptor');
  return found;
}

function malformed({ name }: ByteSource, what: string): ImageError {
  return new ImageError('IMAGE_MALFORMED', `${name} ${what}`, {
    structure: 'OVA archive',
    hint: 'use the archive as it was exported: a tar with one .ovf in it',
  });
}
