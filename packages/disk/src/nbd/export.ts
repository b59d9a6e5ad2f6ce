import type { Disk } from '../disk/disk.ts';
import type { WritableDisk } from '../disk/writable-disk.ts';
import { EXPORT_FLAG } from './protocol.ts';

/** A disk as clients get it. */
export interface NbdExport {
  /** At most 4096 bytes of UTF-8; the empty name is the default export. */
  readonly name: string;
  /** For people; at most 4096 bytes. */
  readonly description?: string | undefined;
  /** Read at any offset; not one that arrives. */
  readonly disk: Disk;
  /** The same disk where clients may write. Absent: writes get EPERM. */
  readonly writable?: WritableDisk | undefined;
}

/** The transmission flags of an export. */
export function exportFlags({ writable }: NbdExport, hasStructuredReplies: boolean): number {
  const flags: number[] = [
    EXPORT_FLAG.hasFlags,
    EXPORT_FLAG.sendFlush,
    // All connections read and write one disk, and a flush of one is a flush of all.
    EXPORT_FLAG.canMultiConn,
    EXPORT_FLAG.sendCache,
  ];
  if (hasStructuredReplies) flags.push(EXPORT_FLAG.sendDf);
  if (writable === undefined) flags.push(EXPORT_FLAG.readOnly);
  else {
    const { sendFua, sendTrim, sendWriteZeroes, sendFastZero } = EXPORT_FLAG;
    flags.push(sendFua, sendTrim, sendWriteZeroes, sendFastZero);
  }
  return flags.reduce((sum, flag) => sum + flag, 0);
}

/** What a client learns of block sizes: any byte can be read and written, whole clusters best. */
export const MINIMUM_BLOCK_BYTES = 1;
export const PREFERRED_BLOCK_BYTES: number = 64 * 1024;
