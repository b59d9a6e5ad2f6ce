import { type Disk, ImageError } from '@gantry/disk';
import { malformed, notRead } from '../fields.ts';
import type { FileRun } from '../files/file-system.ts';

/** Bytes of a file or a disk that are replaced by as many others. */
export interface ByteChange {
  readonly offsetBytes: number;
  readonly before: Uint8Array;
  readonly after: Uint8Array;
  /** One sentence. */
  readonly what: string;
}

/** Where a file stands: runs of a volume, and where that begins on the disk and how long it is. */
export interface FilePlace {
  readonly runs: readonly FileRun[];
  readonly startBytes: number;
  readonly lengthBytes: number;
}

/**
 * Changes of a file as changes of the disk, one for each run that they touch. Throws IMAGE_UNSUPPORTED where a part of
 * the file is not stored, IMAGE_MALFORMED where two parts of it have the same place.
 */
export function changesOnDisk(
  changes: readonly ByteChange[],
  place: FilePlace,
  file: string,
): readonly ByteChange[] {
  const placed = changes.flatMap((change) => onDisk(change, place, file));
  requireApart(placed, () => malformed(file, 'two parts of it have the same place'));
  return placed;
}

function onDisk(
  { offsetBytes, before, after, what }: ByteChange,
  place: FilePlace,
  file: string,
): ByteChange[] {
  const endBytes = offsetBytes + before.length;
  const parts: ByteChange[] = [];
  let at = offsetBytes;
  for (const { fileBytes, volumeBytes, lengthBytes } of place.runs) {
    const end = Math.min(endBytes, fileBytes + lengthBytes);
    if (end <= at || fileBytes > at) continue;
    const start = volumeBytes + at - fileBytes;
    if (start + end - at > place.lengthBytes) break;
    const [from, to] = [at - offsetBytes, end - offsetBytes];
    const bytes = { before: before.slice(from, to), after: after.slice(from, to) };
    parts.push({ offsetBytes: place.startBytes + start, ...bytes, what });
    at = end;
  }
  if (at < endBytes) throw notRead(file, 'a part of it is not stored on the disk');
  return parts;
}

function requireApart(changes: readonly ByteChange[], error: () => ImageError): void {
  let end = 0;
  for (const { offsetBytes, before } of changes.toSorted((a, b) => a.offsetBytes - b.offsetBytes)) {
    if (offsetBytes < end) throw error();
    end = offsetBytes + before.length;
  }
}

/** What takes changes back: their reverse, the last first. */
export function reversedChanges(changes: readonly ByteChange[]): readonly ByteChange[] {
  return changes
    .map(({ before, after, ...rest }) => ({ ...rest, before: after, after: before }))
    .toReversed();
}

/**
 * Compares the places of changes with what they say is there before. Gives the changes that are not made yet. With
 * `partly`, places that were changed already are right too, and so are those of which a part was: what a kill in the
 * middle leaves. Throws IMAGE_MALFORMED where a place holds anything else, and for places outside the disk.
 */
export async function pendingChanges(
  disk: Disk,
  changes: readonly ByteChange[],
  { partly = false, signal }: { readonly partly?: boolean; readonly signal?: AbortSignal | undefined } = {},
): Promise<readonly ByteChange[]> {
  const pending: ByteChange[] = [];
  for (const change of changes) {
    const { offsetBytes, before, after } = change;
    if (offsetBytes + before.length > disk.virtualSizeBytes)
      throw otherDisk(change, 'it lies behind its end');
    const now = new Uint8Array(before.length);
    await disk.read(offsetBytes, now, signal);
    const isRight = now.every((byte, index) => byte === before[index] || (partly && byte === after[index]));
    if (!isRight) throw otherDisk(change, 'other bytes stand there');
    if (now.some((byte, index) => byte !== after[index])) pending.push(change);
  }
  return pending;
}

function otherDisk({ offsetBytes, what }: ByteChange, why: string): ImageError {
  return new ImageError('IMAGE_MALFORMED', `${what}, at ${offsetBytes} of the disk: ${why}`, {
    structure: 'list of changes',
    hint: 'the disk is another one, or was changed since: nothing was written',
  });
}

const KIND = 'gantry disk changes';
const VERSION = 1;
/** Ours have some five changes of at most some hundred bytes; a list of thousands of values has some KiB. */
const CHANGE_COUNT_MAX = 4096;
/** Of a text that is read as a list of changes. */
export const CHANGES_TEXT_BYTES_MAX: number = 1024 * 1024;

/** Changes of a disk of a size, as JSON that people can read. */
export function changesText(virtualSizeBytes: number, changes: readonly ByteChange[]): string {
  const list = changes.map(({ offsetBytes, before, after, what }) => ({
    offsetBytes,
    before: before.toHex(),
    after: after.toHex(),
    what,
  }));
  return `${JSON.stringify({ kind: KIND, version: VERSION, virtualSizeBytes, changes: list }, null, 2)}\n`;
}

/** Reads what `changesText` wrote. Throws IMAGE_MALFORMED for anything else. */
export function parseChanges(text: string): readonly ByteChange[] {
  const { kind, version, virtualSizeBytes, changes } = objectOf(parsed(text));
  if (kind !== KIND || version !== VERSION) throw noList(`it is no ${KIND} of version ${VERSION}`);
  if (!isPlace(virtualSizeBytes)) throw noList('it does not say the size of the disk');
  if (!Array.isArray(changes) || changes.length > CHANGE_COUNT_MAX) throw noList('it has no list of changes');
  const read = changes.map((change) => changeOf(objectOf(change), virtualSizeBytes));
  requireApart(read, () => noList('changes of it overlap'));
  return read;
}

function changeOf(change: Readonly<Record<string, unknown>>, sizeBytes: number): ByteChange {
  const { offsetBytes, what } = change;
  const before = bytesOf(change.before);
  const after = bytesOf(change.after);
  if (!isPlace(offsetBytes) || offsetBytes + before.length > sizeBytes)
    throw noList('a change of it lies outside the disk');
  if (before.length !== after.length) throw noList('a change of it changes the length');
  return { offsetBytes, before, after, what: typeof what === 'string' ? what : 'a change' };
}

function bytesOf(value: unknown): Uint8Array {
  if (typeof value !== 'string' || !/^(?:[0-9a-fA-F]{2})+$/.test(value))
    throw noList('bytes of it are not in hexadecimal');
  return Uint8Array.fromHex(value);
}

function isPlace(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null) return value as Readonly<Record<string, unknown>>;
  throw noList('it is no list of changes');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw noList('it is no JSON');
  }
}

function noList(what: string): ImageError {
  return new ImageError('IMAGE_MALFORMED', `the list of changes: ${what}`, {
    structure: 'list of changes',
    hint: 'name the file that was written when the disk was changed',
  });
}
