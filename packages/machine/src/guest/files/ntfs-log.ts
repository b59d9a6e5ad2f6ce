import type { Fields } from '../fields.ts';
import { fixedUp } from './ntfs-fixup.ts';

/** Two of the largest pages that a header may name. */
export const LOG_RESTART_BYTES: number = 2 * 65_536;
/** Of those that Windows writes. */
const PAGE_BYTES = 4096;
/** Of a restart area: nobody has the log open; it was closed as it should be. */
const NO_CLIENT = 0xffff;
const IS_CLEAN = 2;

/**
 * Whether the log of an NTFS is to be replayed, by its front: the newer of its two restart areas was not closed (the
 * layout of ntfs-3g's logfile.h). A log that was emptied is clean.
 */
export function isLogOpen(log: Fields): boolean {
  let newest: { readonly number: bigint; readonly isOpen: boolean } | undefined;
  const pageBytes = log.has(0, 'RSTR') ? log.u32(16) : PAGE_BYTES;
  for (const at of [0, pageBytes]) {
    if (!log.has(at, 'RSTR')) continue;
    const page = fixedUp(Uint8Array.from(log.part(at, pageBytes)), 'RSTR', 'NTFS log');
    const area = page.u16(24);
    const number = page.big(area);
    if (newest !== undefined && newest.number >= number) continue;
    const isOpen = page.u16(area + 12) !== NO_CLIENT && (page.u16(area + 14) & IS_CLEAN) === 0;
    newest = { number, isOpen };
  }
  return newest?.isOpen === true;
}
