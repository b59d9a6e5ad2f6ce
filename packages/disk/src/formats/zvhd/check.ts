import { mapOrdered } from '../../convert/bounded.ts';
import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { Findings } from '../findings.ts';
import type { CheckReport, OpenOptions } from '../format.ts';
import { giveBack } from './decoded-blocks.ts';
import { BlockDecoder } from './decoder.ts';
import { headerWarnings, structureOf, type ZvhdHeader } from './header.ts';
import { readFirstPage, readLastPage, readListedRecords } from './reader.ts';
import { recordStructure } from './record.ts';
import type { RecordList } from './record-list.ts';
import { RecordWalk } from './record-walk.ts';

const BLOCKS_AT_ONCE = 3;
/** What deflate data ends with at a flush: an empty stored block (RFC 1951, section 3.2.4). */
const FLUSH_MARK = [0, 0, 0xff, 0xff] as const;

/**
 * Goes through all records and decompresses every block: nothing else in the file tells damage. Throws, like
 * opening, when the header cannot be used.
 */
export async function checkZvhd(source: ByteSource, options: OpenOptions): Promise<CheckReport> {
  const first = await readFirstPage(source, 'zvhd', options);
  const findings = startFindings(first.header);
  const walk = new RecordWalk(source, first);
  await noting(findings, () => walk.toEnd(options.signal));
  await checkBlocks(source, first.header, walk.list, findings, options.signal);
  return findings.report('zvhd');
}

/**
 * Goes through all records, compares them with the index and the bitmap, and decompresses every block. Throws, like
 * opening, when the first header cannot be used.
 */
export async function checkZvhd2(source: ByteSource, options: OpenOptions): Promise<CheckReport> {
  const { signal } = options;
  const first = await readFirstPage(source, 'zvhd2', options);
  const findings = startFindings(first.header);
  const walk = new RecordWalk(source, first);
  await noting(findings, () => walk.toEnd(signal));
  let listed: RecordList | undefined;
  await noting(findings, async () => {
    await readLastPage(source, first, signal);
    listed = await readListedRecords(source, first, signal);
  });
  if (listed !== undefined) compareLists(walk.list, listed, findings);
  await checkBlocks(source, first.header, listed ?? walk.list, findings, signal);
  return findings.report('zvhd2');
}

function startFindings(header: ZvhdHeader): Findings {
  const findings = new Findings();
  for (const warning of headerWarnings(header)) findings.add('warning', structureOf(header.kind), warning, 0);
  return findings;
}

/** Runs a part of the check; what it refuses is a corruption, and the rest goes on. */
async function noting(findings: Findings, task: () => Promise<void>): Promise<void> {
  try {
    await task();
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    findings.add('corruption', error.structure, error.message, error.offsetBytes);
  }
}

function compareLists(walked: RecordList, listed: RecordList, findings: Findings): void {
  for (let rank = 0; rank < walked.count; rank++) {
    const offsetBytes = walked.offsetBytes(rank);
    const at = listed.rankOf(walked.block(rank));
    const isListed = listed.block(at) === walked.block(rank) && listed.offsetBytes(at) === offsetBytes;
    if (at < listed.count && isListed) continue;
    const message = `the index does not name the record of block ${walked.block(rank)}`;
    findings.add('corruption', 'ZVHD2 index', message, offsetBytes);
  }
}

async function checkBlocks(
  source: ByteSource,
  header: ZvhdHeader,
  list: RecordList,
  findings: Findings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const decoder = new BlockDecoder(source, header, list);
  const check = async (rank: number) => {
    signal?.throwIfAborted();
    const structure = recordStructure(header.kind);
    await noting(findings, async () => {
      giveBack(await decoder.decode(rank));
      if (header.compression !== 'zlib' || endsAtFlush(await decoder.payload(rank))) return;
      const message = `the zlib data of block ${list.block(rank)} does not end at a flush: other readers lose their place`;
      findings.add('corruption', structure, message, list.offsetBytes(rank));
    });
  };
  for await (const _ of mapOrdered(ranksOf(list), BLOCKS_AT_ONCE, check));
}

function* ranksOf(list: RecordList): Iterable<number> {
  for (let rank = 0; rank < list.count; rank++) yield rank;
}

function endsAtFlush(payload: Uint8Array): boolean {
  const end = payload.subarray(-FLUSH_MARK.length);
  return FLUSH_MARK.every((byte, i) => end[i] === byte);
}
