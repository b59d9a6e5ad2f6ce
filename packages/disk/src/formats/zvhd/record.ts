import { hasMagic, utf8Bytes, viewOf } from '../../bytes/fields.ts';
import { roundUp } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { PAGE_BYTES, titles, type ZvhdKind } from './header.ts';
import { PAYLOAD_SLACK_BYTES } from './limits.ts';

const RECORD_MAGIC = 'hwstream bg\0';
export const RECORD_HEAD_BYTES = 48;
/** Last in every record, behind its padding. */
const RECORD_END = 'end\0';

/** The head of a record that was checked. */
export interface RecordHead {
  readonly block: number;
  readonly payloadBytes: number;
}

export function recordStructure(kind: ZvhdKind): string {
  return `${titles[kind]} block record`;
}

/** A record's length in the file: whole pages. */
export function recordBytesOf(payloadBytes: number): number {
  return roundUp(RECORD_HEAD_BYTES + payloadBytes + RECORD_END.length, PAGE_BYTES);
}

/**
 * The head that these bytes begin with, undefined when they are no record. Throws IMAGE_LIMIT for a payload that is
 * longer than any of a block can be, IMAGE_MALFORMED for none.
 */
export function parseRecordHead(
  bytes: Uint8Array,
  kind: ZvhdKind,
  blockBytes: number,
  offsetBytes: number,
): RecordHead | undefined {
  if (!hasMagic(bytes, RECORD_MAGIC)) return undefined;
  const view = viewOf(bytes);
  const payloadBytes = view.getUint32(12, true);
  const place = { structure: recordStructure(kind), offsetBytes: offsetBytes + 12 };
  if (payloadBytes > 2 * blockBytes + PAYLOAD_SLACK_BYTES)
    throw new ImageError('IMAGE_LIMIT', `a payload of ${payloadBytes} bytes is too long for a block`, place);
  if (payloadBytes === 0) throw new ImageError('IMAGE_MALFORMED', 'a block record has no payload', place);
  return { payloadBytes, block: view.getUint32(16, true) };
}

/** True when a whole record ends as every one does. */
export function hasRecordEnd(record: Uint8Array): boolean {
  return hasMagic(record, RECORD_END, record.length - RECORD_END.length);
}

/** What stands before a payload in its record, and how many zeros and what behind it. */
export interface RecordFrame {
  readonly head: Uint8Array;
  readonly paddingBytes: number;
  readonly end: Uint8Array;
  /** Of the whole record. */
  readonly lengthBytes: number;
}

export function recordFrame(block: number, payloadBytes: number): RecordFrame {
  const head = new Uint8Array(RECORD_HEAD_BYTES);
  const view = viewOf(head);
  head.set(utf8Bytes(RECORD_MAGIC));
  view.setUint32(12, payloadBytes, true);
  view.setUint32(16, block, true);
  const end = utf8Bytes(RECORD_END);
  const lengthBytes = recordBytesOf(payloadBytes);
  return { head, paddingBytes: lengthBytes - head.length - payloadBytes - end.length, end, lengthBytes };
}
