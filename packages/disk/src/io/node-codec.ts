import { ImageError } from '../errors.ts';
import type { Compression } from './codec.ts';
import { unpackOnThread } from './node-work.ts';
import { compressedBound, decompressInto } from './node-zlib.ts';

/** Work below this many calls ends before threads would have started. */
const CALLS_WITHOUT_THREADS = 48;
/** Shared memory that is used again: a unit of 64 KiB and its compressed data. */
const SLOT_BYTES: number = 64 * 1024 + compressedBound(64 * 1024);
const SLOTS_KEPT = 32;

/** For units of MiB, as long as the longest yet; longer ones than this get memory of their own. */
const LARGE_SLOT_BYTES_MAX: number = 8 * 1024 * 1024;
const LARGE_SLOTS_KEPT = 4;

const freeSlots: Uint8Array[] = [];
let largeSlots: Uint8Array[] = [];
let largeSlotBytes = 0;
let callCount = 0;

/**
 * Decompresses to exactly `lengthBytes`, off the calling thread where there is much to do. Input after the end of
 * the compressed data is ignored (images store it in whole sectors). More or less output than that, or damaged
 * input, throws IMAGE_MALFORMED naming `structure`.
 */
export async function decompress(
  kind: Compression,
  bytes: Uint8Array,
  lengthBytes: number,
  structure: string,
  offsetBytes?: number,
): Promise<Uint8Array> {
  const output = new Uint8Array(lengthBytes);
  const malformed = (problem: string) =>
    new ImageError('IMAGE_MALFORMED', `${structure}: ${kind} data ${problem}`, { structure, offsetBytes });
  let writtenBytes: number;
  try {
    writtenBytes =
      ++callCount <= CALLS_WITHOUT_THREADS
        ? decompressInto(output, kind, bytes).writtenBytes
        : await decompressOnThread(output, kind, bytes);
  } catch (error) {
    throw malformed(`does not decompress (${reason(error)})`);
  }
  if (writtenBytes !== lengthBytes) throw malformed(`gives ${writtenBytes} bytes, not ${lengthBytes}`);
  return output;
}

async function decompressOnThread(output: Uint8Array, kind: Compression, bytes: Uint8Array): Promise<number> {
  const sizeBytes = output.length + bytes.length;
  const slot = takeSlot(sizeBytes);
  const plain = slot.subarray(0, output.length);
  const stored = slot.subarray(output.length, sizeBytes);
  stored.set(bytes);
  try {
    const writtenBytes = await unpackOnThread({ kind: 'unpack', plain, stored, compression: kind });
    output.set(plain);
    return writtenBytes;
  } finally {
    giveSlot(slot);
  }
}

function takeSlot(sizeBytes: number): Uint8Array {
  if (sizeBytes <= SLOT_BYTES) return freeSlots.pop() ?? newSlot(SLOT_BYTES);
  if (sizeBytes > LARGE_SLOT_BYTES_MAX) return newSlot(sizeBytes);
  if (sizeBytes > largeSlotBytes) {
    largeSlotBytes = sizeBytes;
    largeSlots = [];
  }
  return largeSlots.pop() ?? newSlot(largeSlotBytes);
}

function giveSlot(slot: Uint8Array): void {
  if (slot.length === SLOT_BYTES) {
    if (freeSlots.length < SLOTS_KEPT) freeSlots.push(slot);
  } else if (slot.length === largeSlotBytes && largeSlots.length < LARGE_SLOTS_KEPT) largeSlots.push(slot);
}

function newSlot(sizeBytes: number): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(sizeBytes));
}

/** From a thread an error comes as its fields. */
function reason(error: unknown): string {
  const { code, message } = error as { readonly code?: string; readonly message?: string };
  return code ?? message ?? String(error);
}
