import { MIB, roundDown } from '../../bytes/numbers.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { Findings } from '../findings.ts';
import type { CheckReport, OpenOptions } from '../format.ts';
import { kindOf, TABLE_STRUCTURE, type VhdxBlockTable } from './block-table.ts';
import { NULL_GUID } from './guids.ts';
import { HEADER_OFFSETS, HEADER_STRUCTURE } from './header.ts';
import { blockTableOf, readVhdx, type VhdxImage } from './image.ts';
import { LOG_STRUCTURE } from './log-entries.ts';
import { REGION_STRUCTURE, REGION_TABLE_OFFSETS } from './region-table.ts';
import { FileClaims, tableDamage } from './table-damage.ts';

/**
 * Looks through both headers, both region tables, the log and the whole block allocation table as it is after
 * the log. The parent of a differencing image is not opened. Throws, like opening, when no header, region
 * table or metadata can be used.
 */
export async function checkVhdx(source: ByteSource, options: OpenOptions): Promise<CheckReport> {
  const image = await readVhdx(source, options.signal);
  const table = blockTableOf(image);
  const findings = new Findings();
  checkCopies(image, findings);
  checkLog(image, findings);
  const claims = new FileClaims(image);
  for await (const { message, offsetBytes } of tableDamage(image, table, claims, options.signal)) {
    findings.add('corruption', TABLE_STRUCTURE, message, offsetBytes);
  }
  await checkLeaks(image, table, claims, findings, options.signal);
  return findings.report('vhdx');
}

function checkCopies({ headers, regions }: VhdxImage, findings: Findings): void {
  if (headers.damagedOffsetBytes !== undefined) {
    findings.add('corruption', HEADER_STRUCTURE, 'one of the headers is damaged', headers.damagedOffsetBytes);
  }
  if (headers.equal) {
    const message = 'both headers have one sequence number: some programs take neither of them';
    findings.add('warning', HEADER_STRUCTURE, message, HEADER_OFFSETS[0]);
  }
  if (regions.damagedOffsetBytes !== undefined) {
    const message = 'one copy of the region table is damaged';
    findings.add('corruption', REGION_STRUCTURE, message, regions.damagedOffsetBytes);
  }
  if (regions.copiesDiffer) {
    const message = 'the copies of the region table differ: programs that take the second see another disk';
    findings.add('corruption', REGION_STRUCTURE, message, REGION_TABLE_OFFSETS[1]);
  }
}

function checkLog({ headers, replay, stored }: VhdxImage, findings: Findings): void {
  const { logGuid, logOffsetBytes, logLengthBytes } = headers.current;
  if (replay !== undefined) {
    const message = `the file was not closed cleanly: its log has to be replayed (entries: ${replay.entryCount})`;
    findings.add('warning', LOG_STRUCTURE, message, logOffsetBytes);
  } else if (logGuid !== NULL_GUID) {
    const message = 'the log is said to be in use and holds no entry to replay';
    findings.add('warning', LOG_STRUCTURE, message, logOffsetBytes);
  }
  if (logLengthBytes > 0 && logOffsetBytes + logLengthBytes > stored.lengthBytes) {
    findings.add('corruption', LOG_STRUCTURE, 'the file ends before its log does', logOffsetBytes);
  }
}

async function checkLeaks(
  image: VhdxImage,
  table: VhdxBlockTable,
  claims: FileClaims,
  findings: Findings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const fileBytes = image.source.lengthBytes;
  // What stands before the first block is how the writer laid out its file: qemu leaves 4 MiB there.
  let firstBytes = fileBytes;
  for await (const entries of table.usedPages(signal)) {
    for (const entry of entries) {
      const lengthBytes = Math.min(image.metadata.blockBytes, fileBytes - entry.fileBytes);
      if (entry.fileBytes === 0 || lengthBytes <= 0) continue;
      firstBytes = Math.min(firstBytes, entry.fileBytes);
      // Blocks without content may keep their places.
      if (kindOf(entry.state) === 'zero' && !table.geometry.isBitmap(entry.index)) {
        claims.claim(entry.fileBytes, lengthBytes);
      }
    }
  }
  const lost = claims.freeCount(roundDown(firstBytes, MIB), fileBytes);
  if (lost > 0) findings.add('leak', 'VHDX file', `${lost} MiB among the blocks belong to nothing`);
}
