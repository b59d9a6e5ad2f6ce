import { toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError, invariant } from '../../errors.ts';
import { type ByteRange, type ByteSource, readStructure, requireInside } from '../../io/byte-source.ts';
import { NULL_GUID } from './guids.ts';
import type { VhdxHeader } from './header.ts';
import { FILE_BYTES_MAX, LOG_BYTES_MAX, ZERO_DESCRIPTORS_MAX } from './limits.ts';
import { LOG_SECTOR_BYTES, LOG_STRUCTURE, LogRing, type LogWrite } from './log-entries.ts';
import { REGION_TABLE_OFFSETS } from './region-table.ts';

const PAGE_BYTES = LOG_SECTOR_BYTES;

/** What a log leaves in the file: apart from each other, pages go before zeros. */
export interface LogReplay {
  readonly entryCount: number;
  /** By offset in the file, in order. */
  readonly pages: ReadonlyMap<number, Uint8Array>;
  /** In order and apart from each other; a page in one of them was written later. */
  readonly zeros: readonly ByteRange[];
  /** The file's length afterwards. */
  readonly lengthBytes: number;
}

/**
 * Replays the log in memory (MS-VHDX 2.3.3); undefined when it is empty. Takes as much memory as the log is
 * long. Throws IMAGE_MALFORMED for writes to where no log writes, IMAGE_TRUNCATED for a file that is shorter
 * than its log knows it to be, IMAGE_LIMIT for a log that is too large.
 */
export async function replayLog(
  source: ByteSource,
  header: VhdxHeader,
  signal?: AbortSignal,
): Promise<LogReplay | undefined> {
  const { logGuid, logOffsetBytes, logLengthBytes } = header;
  if (logGuid === NULL_GUID || logLengthBytes === 0) return undefined;
  if (logLengthBytes > LOG_BYTES_MAX) {
    throw new ImageError('IMAGE_LIMIT', `a VHDX log of ${logLengthBytes} bytes is not replayed`, {
      structure: LOG_STRUCTURE,
      offsetBytes: logOffsetBytes,
      hint: 'let the program that made the image open it once for writing, which replays the log',
    });
  }
  const ring = new LogRing(
    await readStructure(source, logOffsetBytes, logLengthBytes, LOG_STRUCTURE, signal),
  );
  const sequence = ring.activeSequence(logGuid);
  const head = sequence.at(-1);
  if (head === undefined) return undefined;
  const place = { structure: LOG_STRUCTURE, offsetBytes: logOffsetBytes };
  for (const { flushedFileBytes } of sequence) {
    requireInside(source, 0, toSafeInteger(flushedFileBytes, place), 'VHDX file that its log knows');
  }
  const lengthBytes = Math.max(source.lengthBytes, toSafeInteger(head.lastFileBytes, place));
  if (lengthBytes > FILE_BYTES_MAX) {
    throw new ImageError('IMAGE_LIMIT', `the VHDX log makes a file of ${lengthBytes} bytes`, place);
  }
  const replay = new Replay(header, lengthBytes);
  for (const entry of sequence) for (const write of ring.writes(entry)) replay.write(write);
  return { entryCount: sequence.length, ...replay.result(), lengthBytes };
}

interface Page {
  readonly offsetBytes: number;
  /** Which write of the log it is, counted from its start. */
  readonly order: number;
  readonly bytes: Uint8Array;
}

class Replay {
  readonly #header: VhdxHeader;
  readonly #lengthBytes: number;
  readonly #pages = new Map<number, Page>();
  readonly #zeros: { readonly offsetBytes: number; readonly endBytes: number; readonly order: number }[] = [];
  #order = 0;

  constructor(header: VhdxHeader, lengthBytes: number) {
    this.#header = header;
    this.#lengthBytes = lengthBytes;
  }

  write(write: LogWrite): void {
    const place = { structure: LOG_STRUCTURE, offsetBytes: this.#header.logOffsetBytes };
    const offsetBytes = toSafeInteger(write.offsetBytes, place);
    const lengthBytes = write.kind === 'page' ? PAGE_BYTES : toSafeInteger(write.lengthBytes, place);
    this.#requireAllowed(offsetBytes, offsetBytes + lengthBytes);
    const order = this.#order++;
    if (write.kind === 'zero') {
      if (lengthBytes === 0) return;
      this.#zeros.push({ offsetBytes, endBytes: offsetBytes + lengthBytes, order });
      if (this.#zeros.length <= ZERO_DESCRIPTORS_MAX) return;
      throw new ImageError('IMAGE_LIMIT', 'the VHDX log has too many descriptors of zeros', place);
    }
    // The page takes the sector's place: its ends stand in the descriptor, where they made room for marks.
    write.sector.set(write.leading);
    write.sector.set(write.trailing, PAGE_BYTES - write.trailing.length);
    this.#pages.set(offsetBytes, { offsetBytes, order, bytes: write.sector });
  }

  /** Headers are never logged, and a log does not write over itself. */
  #requireAllowed(offsetBytes: number, endBytes: number): void {
    const { logOffsetBytes, logLengthBytes } = this.#header;
    const overLog = offsetBytes < logOffsetBytes + logLengthBytes && endBytes > logOffsetBytes;
    if (offsetBytes >= REGION_TABLE_OFFSETS[0] && endBytes <= this.#lengthBytes && !overLog) return;
    throw new ImageError(
      'IMAGE_MALFORMED',
      `the VHDX log writes bytes ${offsetBytes} to ${endBytes}: over the headers, the log itself or beyond the file`,
      { structure: LOG_STRUCTURE, offsetBytes: logOffsetBytes },
    );
  }

  result(): Pick<LogReplay, 'pages' | 'zeros'> {
    const pages = [...this.#pages.values()].sort((a, b) => a.offsetBytes - b.offsetBytes);
    const zeroed = this.#zeroedPages(pages);
    const kept = pages.filter((page) => !zeroed.has(page));
    return {
      pages: new Map(kept.map(({ offsetBytes, bytes }) => [offsetBytes, bytes])),
      zeros: joined(this.#zeros),
    };
  }

  /**
   * The pages that zeros were written over later. Zeros are taken from the last one on, so that whichever meets
   * a page first decides about it, and decided pages are passed over in one step.
   */
  #zeroedPages(pages: readonly Page[]): ReadonlySet<Page> {
    const zeroed = new Set<Page>();
    const nextUndecided = Uint32Array.from({ length: pages.length + 1 }, (_, i) => i);
    const undecidedFrom = (start: number): number => {
      let i = start;
      for (let next = nextUndecided[i] ?? i; next !== i; next = nextUndecided[i] ?? i) {
        nextUndecided[i] = nextUndecided[next] ?? next;
        i = next;
      }
      return i;
    };
    for (const { offsetBytes, endBytes, order } of this.#zeros.toReversed()) {
      let i = undecidedFrom(
        firstNotBefore(pages.length, (index) => (pages[index]?.offsetBytes ?? 0) < offsetBytes),
      );
      for (let page = pages[i]; page !== undefined && page.offsetBytes < endBytes; page = pages[i]) {
        if (page.order < order) zeroed.add(page);
        nextUndecided[i] = i + 1;
        i = undecidedFrom(i + 1);
      }
    }
    return zeroed;
  }
}

/** The first index of [0, count) that is not before what is looked for, or `count`. */
function firstNotBefore(count: number, isBefore: (index: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isBefore(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function joined(ranges: readonly { readonly offsetBytes: number; readonly endBytes: number }[]): ByteRange[] {
  const sorted = ranges.toSorted((a, b) => a.offsetBytes - b.offsetBytes);
  const result: ByteRange[] = [];
  for (const { offsetBytes, endBytes } of sorted) {
    const last = result.at(-1);
    if (last === undefined || offsetBytes > endOf(last)) {
      result.push({ offsetBytes, lengthBytes: endBytes - offsetBytes });
    } else if (endBytes > endOf(last)) {
      result[result.length - 1] = { ...last, lengthBytes: endBytes - last.offsetBytes };
    }
  }
  return result;
}

function endOf(range: ByteRange | undefined): number {
  return range === undefined ? 0 : range.offsetBytes + range.lengthBytes;
}

/** The source with a log replayed over it. Closing it leaves the source open. */
export function replayedSource(source: ByteSource, replay: LogReplay): ByteSource {
  const { pages, zeros, lengthBytes } = replay;
  // The length of a stream may turn out to be less than it was taken for: what is missing then is no zeros.
  const storedBytes = source.lengthBytes;
  return {
    name: source.name,
    lengthBytes,
    ...(source.sequential === true && { sequential: true }),
    async read(offsetBytes, into, signal) {
      const end = offsetBytes + into.length;
      invariant(end <= lengthBytes, 'read beyond a replayed source');
      const stored = Math.max(0, Math.min(into.length, storedBytes - offsetBytes));
      if (stored > 0) await source.read(offsetBytes, into.subarray(0, stored), signal);
      into.fill(0, stored);
      const first = firstNotBefore(zeros.length, (index) => endOf(zeros[index]) <= offsetBytes);
      for (let i = first; i < zeros.length; i++) {
        const zero = zeros[i];
        if (zero === undefined || zero.offsetBytes >= end) break;
        into.fill(0, Math.max(0, zero.offsetBytes - offsetBytes), endOf(zero) - offsetBytes);
      }
      for (let at = offsetBytes - (offsetBytes % PAGE_BYTES); at < end; at += PAGE_BYTES) {
        const page = pages.get(at);
        if (page === undefined) continue;
        const from = Math.max(at, offsetBytes);
        into.set(page.subarray(from - at, Math.min(PAGE_BYTES, end - at)), from - offsetBytes);
      }
    },
    async close() {},
  };
}
