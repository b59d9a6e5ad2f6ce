import { MIB } from '../../bytes/numbers.ts';
import { mapOrdered } from '../../convert/bounded.ts';
import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { Findings } from '../findings.ts';
import type { CheckReport, OpenOptions } from '../format.ts';
import { VhdBlockTable } from './block-table.ts';
import { readDynamicHeader, TABLE_STRUCTURE, type VhdDynamicHeader } from './dynamic-header.ts';
import { readEnds, type VhdEnds } from './ends.ts';
import { fixedSlackBytes } from './fixed.ts';
import { FOOTER_STRUCTURE, footerWarnings } from './footer.ts';
import { LOCATOR_STRUCTURE, readParentName } from './parent-name.ts';
import { clearUnusedSectors, SectorBitmaps } from './sector-bitmap.ts';

const BITMAPS_AT_ONCE = 8;

/**
 * Looks through the footers, the block table and, of a dynamic disk, every sector bitmap. Throws, like opening, when no footer or
 * header can be used.
 */
export async function checkVhd(source: ByteSource, options: OpenOptions): Promise<CheckReport> {
  const ends = await readEnds(source, options.signal);
  const findings = new Findings();
  for (const warning of footerWarnings(ends.footer)) findings.add('warning', FOOTER_STRUCTURE, warning);
  checkEnds(ends, findings);
  if (ends.footer.diskType === 'fixed') {
    const slackBytes = fixedSlackBytes(source, ends);
    if (slackBytes > 0) {
      const message = `${slackBytes} bytes stand between the disk and the footer`;
      findings.add('leak', 'VHD fixed disk', message, ends.footer.currentSizeBytes);
    }
    return findings.report('vhd');
  }
  const header = await readDynamicHeader(source, ends.footer, options.signal);
  const table = await VhdBlockTable.read(source, header, ends.footer.currentSizeBytes, options.signal);
  let damaged = false;
  for (const { message, offsetBytes } of table.damage(ends.dataEndBytes)) {
    findings.add('corruption', TABLE_STRUCTURE, message, offsetBytes);
    damaged = true;
  }
  checkUnused(table, ends.dataEndBytes, findings);
  if (ends.footer.diskType === 'differencing') await checkParentName(source, header, findings, options);
  else if (!damaged) await checkBitmaps(source, header, table, findings, options.signal);
  return findings.report('vhd');
}

function checkEnds(ends: VhdEnds, findings: Findings): void {
  if (ends.endState !== 'valid') {
    findings.add('corruption', FOOTER_STRUCTURE, `the footer is ${ends.endState}`, ends.dataEndBytes);
  }
  if (ends.footer.diskType !== 'fixed' && ends.copyState !== 'valid') {
    findings.add('corruption', FOOTER_STRUCTURE, `the copy of the footer is ${ends.copyState}`, 0);
  }
  if (ends.copyDiffers) {
    const message = 'the copy differs from the footer: programs that take it may see another disk';
    findings.add('corruption', FOOTER_STRUCTURE, message, 0);
  }
}

function checkUnused(table: VhdBlockTable, dataEndBytes: number, findings: Findings): void {
  const lost = table.lostBlockCount(dataEndBytes);
  if (lost > 0)
    findings.add('leak', 'VHD data blocks', `the file has room for ${lost} blocks that no entry names`);
  const beyond = table.storedBeyondDisk();
  if (beyond > 0) {
    findings.add('warning', TABLE_STRUCTURE, `${beyond} entries beyond the end of the disk name blocks`);
  }
}

/** The parent itself is not asked for: another file is another check. */
async function checkParentName(
  source: ByteSource,
  header: VhdDynamicHeader,
  findings: Findings,
  options: OpenOptions,
): Promise<void> {
  try {
    const name = await readParentName(source, header, options.signal);
    if (name === '') findings.add('corruption', LOCATOR_STRUCTURE, 'no name of the parent is left');
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    findings.add('corruption', error.structure, error.message, error.offsetBytes);
  }
}

async function checkBitmaps(
  source: ByteSource,
  header: VhdDynamicHeader,
  table: VhdBlockTable,
  findings: Findings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const bitmaps = new SectorBitmaps(source, header, table);
  const inspect = async (block: number) => {
    signal?.throwIfAborted();
    const bitmap = await bitmaps.bitmap(block);
    const hidden = bitmap !== undefined && (await hidesData(source, table, block, bitmap, signal));
    return { block, hidden };
  };
  for await (const { block, hidden } of mapOrdered(table.stored(), BITMAPS_AT_ONCE, inspect)) {
    if (!hidden) continue;
    const message = `block ${block} holds data in sectors that its bitmap marks as unused: programs that ignore the bitmap show it`;
    findings.add('warning', 'VHD sector bitmap', message, table.bitmapOffset(block));
  }
}

async function hidesData(
  source: ByteSource,
  table: VhdBlockTable,
  block: number,
  bitmap: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const shownBytes = table.shownBytes(block);
  const buffer = new Uint8Array(Math.min(MIB, shownBytes));
  for (let at = 0; at < shownBytes; at += buffer.length) {
    const part = buffer.subarray(0, Math.min(buffer.length, shownBytes - at));
    await source.read(table.dataOffset(block) + at, part, signal);
    if (clearUnusedSectors(bitmap, at, part)) return true;
  }
  return false;
}
