import { readSync, writeSync } from 'node:fs';
import { adler32 } from '../bytes/adler32.ts';
import { GRAIN_MARKER_BYTES, grainDataBytes, grainMarkerProblem } from '../bytes/grain-marker.ts';
import { looksIncompressible } from '../bytes/incompressible.ts';
import { FAILED, type Place, placeUnits, stopCopy, TURN, type UnitsToPlace } from '../view/placed-units.ts';
import type { Compression } from './codec.ts';
import { accelerator } from './node-accelerator.ts';
import { compressInto, type Decompressed, decompressInto } from './node-zlib.ts';

// What the threads do: whole runs of a disk, read, decompressed, looked at for zeros, compressed or written, with
// nothing but synchronous calls and memory that is used again. Runs in the caller's thread too, for little work.

/** A run of the task's plain bytes, and where it is stored. */
export interface LoadPart {
  /** Where it goes in the plain bytes. */
  readonly at: number;
  readonly lengthBytes: number;
  readonly descriptor: number;
  readonly sourceBytes: number;
  readonly storedBytes: number;
  /** Absent for bytes that are stored as they are. */
  readonly compression?: Compression | undefined;
  /** The stored bytes begin with VMDK's marker of the grain for this sector. */
  readonly grainSector?: number | undefined;
}

interface Task {
  /** Shared memory; its length is what the task is about. */
  readonly plain: Uint8Array;
  /** Where the plain bytes come from, in order; what no part gives is zero. Absent when they are there already. */
  readonly parts?: readonly LoadPart[] | undefined;
  /** Where the disk ends in the plain bytes: what stands behind is made zero. */
  readonly endBytes: number;
}

/** Compresses units. The answer has for each its length in `packed`, one after the other; 0 for zeros, -1 for plain. */
export interface PackTask extends Task {
  readonly kind: 'pack';
  readonly packed: Uint8Array;
  readonly unitBytes: number;
  readonly compression: Compression;
  readonly windowBits?: number | undefined;
  /** Deflate without a last block, ended by a full flush. */
  readonly openEnd?: boolean | undefined;
  readonly limitBytes: number;
}

/** Writes the units that are not zero to where their blocks go. The answer is empty. */
export interface CopyTask extends Omit<Task, 'plain'>, UnitsToPlace {
  readonly kind: 'copy';
  /** The bytes, where they are there already; a thread reads parts into memory of its own, which its caches keep. */
  readonly plain?: Uint8Array | undefined;
  readonly descriptor: number;
  /** The tasks of one copy, counted from 0, take their turns in this order. */
  readonly turn: number;
}

/** Writes bytes to several places. The answer is empty. */
export interface WriteTask {
  readonly kind: 'write';
  /** Shared memory. */
  readonly plain: Uint8Array;
  readonly places: readonly Place[];
  readonly descriptor: number;
}

/** Decompresses one unit into `plain`. The answer has the length of what came out. */
export interface UnpackTask {
  readonly kind: 'unpack';
  readonly plain: Uint8Array;
  readonly stored: Uint8Array;
  readonly compression: Compression;
}

/**
 * Decompresses a unit to look at it. The answer has the compressed bytes that it takes and the Adler-32 of the plain
 * ones; nothing where the end of the compressed data is missing, or the unit is not zero from `endBytes` on.
 */
export interface LookTask {
  readonly kind: 'look';
  readonly stored: Uint8Array;
  readonly compression: Compression;
  /** What it decompresses to. */
  readonly lengthBytes: number;
  readonly endBytes: number;
  /** Where it stands, for errors. */
  readonly offsetBytes: number;
}

export type WorkTask = PackTask | CopyTask | WriteTask | UnpackTask | LookTask;

export function runTask(task: WorkTask): readonly number[] {
  switch (task.kind) {
    case 'pack':
      return pack(task);
    case 'copy':
      return copy(task);
    case 'write':
      return write(task);
    case 'unpack':
      return [decompressInto(task.plain, task.compression, task.stored).writtenBytes];
    case 'look':
      return look(task);
  }
}

/** A part of the plain bytes that was decompressed, with its compressed bytes: valid until the next load. */
interface Passed {
  readonly at: number;
  readonly lengthBytes: number;
  readonly compression: Compression;
  readonly bytes: Uint8Array;
}

function pack(task: PackTask): readonly number[] {
  const { plain, packed, unitBytes, windowBits, openEnd } = task;
  const mayPass = (windowBits ?? 15) === 15 && openEnd !== true;
  const passed = load(task, (part) => mayPass && part.lengthBytes === unitBytes);
  const sizes: number[] = [];
  let at = 0;
  let nextPassed = 0;
  for (let start = 0; start < plain.length; start += unitBytes) {
    while ((passed[nextPassed]?.at ?? Infinity) < start) nextPassed++;
    const stored = passed[nextPassed]?.at === start ? passed[nextPassed] : undefined;
    const unit = plain.subarray(start, start + unitBytes);
    const lengthBytes = packUnit(
      task,
      packed.subarray(at),
      unit,
      start + unitBytes <= task.endBytes ? stored : undefined,
    );
    sizes.push(lengthBytes);
    at += Math.max(0, lengthBytes);
  }
  return sizes;
}

/** The unit's length in `target`; 0 when it is all zeros, -1 when it is to be stored as it is. */
function packUnit(task: PackTask, target: Uint8Array, unit: Uint8Array, stored: Passed | undefined): number {
  const { compression, windowBits, openEnd, limitBytes } = task;
  if (isZeroUnit(unit)) return 0;
  const passedBytes =
    stored && stored.bytes.length + 6 <= limitBytes ? passInto(target, stored, unit, compression) : 0;
  if (passedBytes > 0) return passedBytes;
  // zstd sees it by itself, and sooner.
  if (compression !== 'zstd' && isIncompressible(unit)) return -1;
  const lengthBytes = compressInto(target, compression, unit, { windowBits, openEnd });
  return lengthBytes === 0 || lengthBytes > limitBytes ? -1 : lengthBytes;
}

function isIncompressible(unit: Uint8Array): boolean {
  return accelerator()?.looksIncompressible(unit) ?? looksIncompressible(unit);
}

/** Compressed data as it is stored, in the frame that is asked for; 0 when it would have to be made anew. */
function passInto(target: Uint8Array, stored: Passed, plain: Uint8Array, compression: Compression): number {
  if (stored.compression === compression) {
    target.set(stored.bytes);
    return stored.bytes.length;
  }
  if (stored.compression === 'zlib' && compression === 'deflate-raw') {
    // RFC 1950: two bytes of header without a dictionary, four of Adler-32.
    target.set(stored.bytes.subarray(2, stored.bytes.length - 4));
    return stored.bytes.length - 6;
  }
  if (stored.compression === 'deflate-raw' && compression === 'zlib') {
    target[0] = 0x78;
    target[1] = 0x9c;
    target.set(stored.bytes, 2);
    const end = 2 + stored.bytes.length;
    new DataView(target.buffer, target.byteOffset).setUint32(
      end,
      accelerator()?.adler32(plain) ?? adler32(plain),
    );
    return end + 4;
  }
  return 0;
}

let own = new Uint8Array(0);

/** The first bytes of this thread's memory. */
function ownBytes(lengthBytes: number): Uint8Array {
  if (own.length < lengthBytes) own = new Uint8Array(lengthBytes);
  return own.subarray(0, lengthBytes);
}

function copy(task: CopyTask): readonly number[] {
  const plain = task.plain ?? ownBytes(task.lengthBytes);
  return write({ kind: 'write', plain, places: placesOf(task, plain), descriptor: task.descriptor });
}

function write({ plain, places, descriptor }: WriteTask): readonly number[] {
  for (const { at, lengthBytes, targetBytes } of places) {
    writeAll(descriptor, plain.subarray(at, at + lengthBytes), targetBytes);
  }
  return [];
}

/** Reads the task's bytes and gives what is to be written where; nothing when the copy has failed. */
function placesOf(task: CopyTask, plain: Uint8Array): readonly Place[] {
  const { turns } = task.progress;
  // Only where the place of a block depends on those before it.
  const takesTurns = task.placement.kind === 'packed';
  try {
    const isFailed = Atomics.load(turns, FAILED) !== 0;
    if (!isFailed) load({ ...task, plain });
    const units = isFailed ? [] : dataUnits(plain, task.unitBytes);
    if (takesTurns) awaitTurn(turns, task.turn);
    return Atomics.load(turns, FAILED) === 0 ? placeUnits(task, units) : [];
  } catch (error) {
    stopCopy(task.progress);
    throw error;
  } finally {
    if (takesTurns) {
      Atomics.store(turns, TURN, task.turn + 1);
      Atomics.notify(turns, TURN);
    }
  }
}

const ZEROS: Buffer = Buffer.alloc(64 * 1024);

/** As `isZero`, several times as fast: Node compares with instructions that JavaScript does not have. */
function isZeroUnit(unit: Uint8Array): boolean {
  // Most data shows here, and a call costs more than a look.
  if (unit[0] !== 0 || unit[unit.length >> 1] !== 0) return false;
  for (let at = 0; at < unit.length; at += ZEROS.length) {
    const part = unit.subarray(at, at + ZEROS.length);
    if (ZEROS.compare(part, 0, part.length, 0, part.length) !== 0) return false;
  }
  return true;
}

function awaitTurn(turns: Int32Array, turn: number): void {
  for (;;) {
    const now = Atomics.load(turns, TURN);
    if (now >= turn || Atomics.load(turns, FAILED) !== 0) return;
    Atomics.wait(turns, TURN, now);
  }
}

/** Offsets of the units that are not all zero. */
function dataUnits(plain: Uint8Array, unitBytes: number): number[] {
  const units: number[] = [];
  for (let at = 0; at < plain.length; at += unitBytes) {
    if (!isZeroUnit(plain.subarray(at, at + unitBytes))) units.push(at);
  }
  return units;
}

function look({ stored, compression, lengthBytes, endBytes, offsetBytes }: LookTask): readonly number[] {
  const plain = ownBytes(lengthBytes);
  const usedBytes = unpack(plain, { sourceBytes: offsetBytes, lengthBytes, compression }, stored);
  if (usedBytes === undefined || !plain.subarray(endBytes).every((byte) => byte === 0)) return [];
  return [usedBytes, accelerator()?.adler32(plain) ?? adler32(plain)];
}

/** Parts that stand closer than this in the file are fetched with one read. */
const GAP_BYTES = 4096;
const SCRATCH_BYTES: number = 2 * 1024 * 1024;
let scratch = new Uint8Array(0);

/** Fills the plain bytes. Gives the compressed bytes of the parts that `keep` names. */
function load(task: Task, keep?: (part: LoadPart) => boolean): Passed[] {
  const { plain, parts } = task;
  const passed: Passed[] = [];
  if (parts === undefined) return passed;
  if (scratch.length === 0 && parts.some((part) => part.compression !== undefined))
    scratch = new Uint8Array(SCRATCH_BYTES);
  let filled = 0;
  let scratchUsed = 0;
  for (let i = 0; i < parts.length; ) {
    const first = parts[i] as LoadPart;
    if (first.at > filled) plain.fill(0, filled, first.at);
    if (first.compression === undefined) {
      readAll(first.descriptor, plain.subarray(first.at, first.at + first.lengthBytes), first.sourceBytes);
      filled = first.at + first.lengthBytes;
      i++;
      continue;
    }
    const group = closeParts(parts, i);
    const bytes = scratchOf(scratchUsed, group.endBytes - first.sourceBytes);
    scratchUsed += bytes.length;
    readAll(first.descriptor, bytes, first.sourceBytes);
    for (; i < group.end; i++) {
      const part = parts[i] as LoadPart;
      if (part.at > filled) plain.fill(0, filled, part.at);
      const record = bytes.subarray(part.sourceBytes - first.sourceBytes).subarray(0, part.storedBytes);
      const stored = part.grainSector === undefined ? record : grainData(part, part.grainSector, record);
      const used = unpack(plain.subarray(part.at, part.at + part.lengthBytes), part, stored);
      filled = part.at + part.lengthBytes;
      if (used !== undefined && part.compression !== undefined && keep?.(part)) {
        const { at, lengthBytes, compression } = part;
        passed.push({ at, lengthBytes, compression, bytes: stored.subarray(0, used) });
      }
    }
  }
  plain.fill(0, Math.min(filled, task.endBytes));
  return passed;
}

/** The compressed parts from `start` on that one read fetches. */
function closeParts(parts: readonly LoadPart[], start: number): { end: number; endBytes: number } {
  const first = parts[start] as LoadPart;
  let endBytes = first.sourceBytes + first.storedBytes;
  let end = start + 1;
  for (; end < parts.length; end++) {
    const part = parts[end] as LoadPart;
    const partEnd = part.sourceBytes + part.storedBytes;
    const isClose =
      part.compression !== undefined &&
      part.descriptor === first.descriptor &&
      part.sourceBytes >= first.sourceBytes &&
      part.sourceBytes <= endBytes + GAP_BYTES &&
      partEnd - first.sourceBytes <= SCRATCH_BYTES;
    if (!isClose) break;
    endBytes = Math.max(endBytes, partEnd);
  }
  return { end, endBytes };
}

function scratchOf(used: number, lengthBytes: number): Uint8Array {
  return used + lengthBytes <= scratch.length
    ? scratch.subarray(used, used + lengthBytes)
    : new Uint8Array(lengthBytes);
}

/** Decompresses a part; gives the length of its compressed data, or undefined when the end of that is missing. */
function unpack(
  target: Uint8Array,
  part: Pick<LoadPart, 'sourceBytes' | 'lengthBytes' | 'compression'>,
  stored: Uint8Array,
): number | undefined {
  const { compression } = part;
  const done = compression === undefined ? undefined : tryDecompress(target, compression, stored);
  if (done?.writtenBytes !== target.length) {
    const { sourceBytes, lengthBytes } = part;
    throw new DamagedPart(
      part,
      `${compression} data at ${sourceBytes} does not decompress to ${lengthBytes} bytes`,
    );
  }
  return done.isWhole ? done.usedBytes : undefined;
}

/** The compressed data of a grain's record. No table makes another grain's data pass for this one's. */
function grainData(part: LoadPart, sector: number, record: Uint8Array): Uint8Array {
  const problem = grainMarkerProblem(record, sector, part.lengthBytes);
  if (problem !== undefined) throw new DamagedPart(part, problem);
  const end = GRAIN_MARKER_BYTES + grainDataBytes(record);
  if (end > record.length) {
    throw new DamagedPart(part, `the compressed grain of ${end} bytes runs into the next one`);
  }
  return record.subarray(GRAIN_MARKER_BYTES, end);
}

function tryDecompress(
  target: Uint8Array,
  compression: Compression,
  stored: Uint8Array,
): Decompressed | undefined {
  try {
    return decompressInto(target, compression, stored);
  } catch {
    return undefined;
  }
}

/** Says which stored data is damaged; who asked knows what it is. */
export class DamagedPart extends Error {
  override readonly name = 'DamagedPart';
  readonly sourceBytes: number;

  constructor(part: Pick<LoadPart, 'sourceBytes'>, message: string) {
    super(message);
    this.sourceBytes = part.sourceBytes;
  }
}

/** The file ended before the bytes that it had when it was opened. */
export class FileShrank extends Error {
  override readonly name = 'FileShrank';
}

function readAll(descriptor: number, into: Uint8Array, offsetBytes: number): void {
  for (let done = 0; done < into.length; ) {
    const count = readSync(descriptor, into, done, into.length - done, offsetBytes + done);
    if (count === 0) throw new FileShrank('the file became shorter while it was read');
    done += count;
  }
}

function writeAll(descriptor: number, bytes: Uint8Array, offsetBytes: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(descriptor, bytes, done, bytes.length - done, offsetBytes + done);
  }
}
