import {
  type ByteSource,
  convert,
  type Disk,
  diskDigest,
  type ForwardSource,
  formats,
  forwardSource,
  ImageError,
  type ImageErrorCode,
  isZero,
  memorySink,
  memorySource,
  type OpenDiskOptions,
  openDisk,
  probeFormat,
  type ReferenceGate,
} from '@gantry/disk';
import type { HostileCase } from './case.ts';
import { contentDisk, corpusSource } from './image.ts';

/**
 * The ways in which a case is opened and read: the whole disk in order, all of it (or much) in ranges of odd
 * lengths out of order, byte by byte, from a stream that arrives once, copied into another format, and looked at
 * by `check` and `repair`.
 */
export const ways = ['whole', 'ranges', 'bytes', 'forward', 'copied', 'checked'] as const;
export type Way = (typeof ways)[number];

/** How a way ended. `failed` is never right: it is no refusal, or what was read is not what should be. */
export type End =
  | {
      readonly kind: 'read';
      readonly digest?: string;
      readonly sizeBytes: number;
      readonly warnings: string[];
    }
  | {
      readonly kind: 'refused';
      readonly code: ImageErrorCode;
      readonly structure: string;
      readonly message: string;
    }
  | { readonly kind: 'failed'; readonly message: string }
  /** Nothing to do in this way: `checked` for a format without `check`. */
  | { readonly kind: 'none' };

export interface WayResult {
  readonly way: Way;
  readonly end: End;
  /** Processor time of all threads. */
  readonly cpuMs: number;
  /** Names inside the image that were asked for. */
  readonly asked: readonly string[];
}

/** What is compared with what: at most this much of a disk is kept. */
const SMALL_BYTES = 4 * 2 ** 20;
const PIECE_BYTES = 2 ** 20;
/** Longest disk that is read from an arriving stream, and longest file that is sent as one. */
const FORWARD_BYTES = 256 * 2 ** 20;

/** Tells what a disk should read as; undefined where that is not known. */
type Reference = ((offsetBytes: number, lengthBytes: number) => Promise<Uint8Array>) | undefined;

interface Attempt {
  readonly hostile: HostileCase;
  readonly signal: AbortSignal;
  readonly asked: string[];
  /** What the way `whole` read of a small disk: ranges and bytes have to agree with it. */
  readonly kept: { bytes?: Uint8Array; digest?: string };
}

/** Processor time that one way may take: 2 s, for images of a few KiB to a few MiB. */
export const CPU_LIMIT_MS = 2000;
const CPU_LOOKS_EVERY_MS = 100;

/** Opens and reads a case in every way. Never throws. */
export async function tryCase(
  hostile: HostileCase,
  wanted: readonly Way[] = ways,
  beforeWay: (way: Way) => Promise<void> = async () => {},
): Promise<WayResult[]> {
  const results: WayResult[] = [];
  const kept: Attempt['kept'] = {};
  for (const way of wanted) {
    await beforeWay(way);
    const asked: string[] = [];
    const abort = new AbortController();
    const before = process.cpuUsage();
    const cpuMs = () => {
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1000;
    };
    const timer = setInterval(() => {
      if (cpuMs() > CPU_LIMIT_MS) abort.abort(new Error(`more than ${CPU_LIMIT_MS} ms of processor time`));
    }, CPU_LOOKS_EVERY_MS);
    const end = await endOf(() => attempts[way]({ hostile, signal: abort.signal, asked, kept }));
    clearInterval(timer);
    results.push({ way, end, cpuMs: Math.round(cpuMs()), asked });
  }
  return results;
}

async function endOf(attempt: () => Promise<End>): Promise<End> {
  try {
    return await attempt();
  } catch (error) {
    if (!(error instanceof ImageError)) {
      const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
      return { kind: 'failed', message };
    }
    return { kind: 'refused', code: error.code, structure: error.structure, message: error.message };
  }
}

const attempts: Record<Way, (attempt: Attempt) => Promise<End>> = {
  whole: readWhole,
  ranges: readRanges,
  bytes: readBytes,
  forward: readForward,
  copied: readCopied,
  checked: check,
};

/** Gives what the case supplies and refuses every other name. */
function gateOf({ hostile, asked }: Attempt): ReferenceGate {
  return {
    async resolve({ kind, name, structure }) {
      asked.push(name);
      const file = hostile.files?.[name];
      if (file === undefined) {
        throw new ImageError('IMAGE_REFERENCE', `${kind} ${JSON.stringify(name)} is not supplied`, {
          structure,
        });
      }
      const image = file.image === 'itself' ? hostile.image : file.image;
      return { source: corpusSource(image, name), ...(file.format !== undefined && { format: file.format }) };
    },
  };
}

function optionsOf(attempt: Attempt): OpenDiskOptions {
  const { format, snapshot, member } = attempt.hostile;
  return { references: gateOf(attempt), signal: attempt.signal, format, snapshot, member };
}

async function withDisk(
  attempt: Attempt,
  use: (disk: Disk) => Promise<End>,
  source: ByteSource = corpusSource(attempt.hostile.image, 'hostile'),
): Promise<End> {
  const disk = await openDisk(source, optionsOf(attempt));
  try {
    return await use(disk);
  } finally {
    await disk.close();
    await source.close();
  }
}

function readEnd(disk: Disk, digest?: string): End {
  return {
    kind: 'read',
    sizeBytes: disk.virtualSizeBytes,
    warnings: [...disk.warnings],
    ...(digest !== undefined && { digest }),
  };
}

function readWhole(attempt: Attempt): Promise<End> {
  return withDisk(attempt, async (disk) => {
    const digest = await diskDigest(disk, { signal: attempt.signal });
    await disk.drain?.(attempt.signal);
    attempt.kept.digest = digest;
    if (disk.virtualSizeBytes <= SMALL_BYTES) attempt.kept.bytes = await readSmall(disk, attempt);
    await requireSoundStoredRuns(disk, attempt);
    const { reads } = attempt.hostile.expected;
    if (reads !== undefined) {
      const expected = contentDisk(reads);
      if (expected.virtualSizeBytes !== disk.virtualSizeBytes)
        throw new Error(`the disk has ${disk.virtualSizeBytes} bytes, not ${expected.virtualSizeBytes}`);
      if ((await diskDigest(expected)) !== digest) throw new Error('the disk reads as something else');
    }
    return readEnd(disk, digest);
  });
}

/** All bytes of a small disk; its extents have to cover it, in order, with zeros where they say so. */
async function readSmall(disk: Disk, { signal }: Attempt): Promise<Uint8Array> {
  const bytes = new Uint8Array(disk.virtualSizeBytes).fill(0xee);
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    await disk.read(at, bytes.subarray(at, Math.min(at + PIECE_BYTES, bytes.length)), signal);
  }
  let at = 0;
  for await (const { offsetBytes, lengthBytes, kind } of disk.extents(0, bytes.length, signal)) {
    if (offsetBytes !== at || lengthBytes <= 0)
      throw new Error(`the extents do not follow each other at ${at}`);
    at += lengthBytes;
    if (kind !== 'data' && !isZero(bytes.subarray(offsetBytes, at)))
      throw new Error(`the ${kind} at ${offsetBytes} is not zero`);
  }
  if (at !== bytes.length) throw new Error(`the extents end at ${at}`);
  return bytes;
}

/** What the fast copy is built on: runs that cover the disk and lie inside their sources. */
async function requireSoundStoredRuns(disk: Disk, { signal, kept }: Attempt): Promise<void> {
  if (disk.storedRuns === undefined) return;
  let at = 0;
  for await (const run of disk.storedRuns(0, disk.virtualSizeBytes, signal)) {
    if (run.offsetBytes !== at) throw new Error(`the stored runs do not follow each other at ${at}`);
    at += run.lengthBytes;
    if (run.kind === 'packed') {
      requireInside(run.source, run.sourceBytes, run.storedBytes, 'packed run');
    } else if (run.kind === 'plain') {
      requireInside(run.source, run.sourceBytes, run.lengthBytes, 'plain run');
      if (kept.bytes === undefined) continue;
      const bytes = new Uint8Array(run.lengthBytes);
      await run.source.read(run.sourceBytes, bytes, signal);
      requireSame(bytes, kept.bytes.subarray(run.offsetBytes, at), run.offsetBytes, 'the stored run');
    }
  }
  if (at < disk.virtualSizeBytes) throw new Error(`the stored runs end at ${at}`);
}

function requireInside(source: ByteSource, offsetBytes: number, lengthBytes: number, what: string): void {
  if (offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= source.lengthBytes) return;
  throw new Error(`a ${what} of ${lengthBytes} bytes at ${offsetBytes} lies outside of its source`);
}

function requireSame(actual: Uint8Array, expected: Uint8Array, offsetBytes: number, what: string): void {
  if (Buffer.compare(actual, expected) === 0) return;
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  throw new Error(`${what} at ${offsetBytes} reads differently from byte ${at} of ${actual.length} on`);
}

/** What the disk should read as: what the case says, or what the way `whole` read. */
function referenceOf(attempt: Attempt): Reference {
  const { reads } = attempt.hostile.expected;
  const { bytes } = attempt.kept;
  if (reads === undefined && bytes === undefined) return undefined;
  const content = reads === undefined ? undefined : contentDisk(reads);
  return async (offsetBytes, lengthBytes) => {
    if (content === undefined) return (bytes as Uint8Array).subarray(offsetBytes, offsetBytes + lengthBytes);
    const expected = new Uint8Array(lengthBytes);
    await content.read(offsetBytes, expected);
    return expected;
  };
}

const RANGE_LENGTHS = [1, 511, 512, 4096, 65536, 70_001, 300_000] as const;
/** Data extents of a large disk that ranges and bytes are read of. */
const SAMPLED_EXTENTS = 64;
const SAMPLED_BYTES = 1024;

/** The same numbers for every run: what fails once fails again. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function readRanges(attempt: Attempt): Promise<End> {
  return withDisk(attempt, async (disk) => {
    const next = numbers(disk.virtualSizeBytes % 1000);
    const ranges: { offsetBytes: number; lengthBytes: number }[] = [];
    const spans =
      disk.virtualSizeBytes <= SMALL_BYTES
        ? [{ offsetBytes: 0, lengthBytes: disk.virtualSizeBytes }]
        : await sampledSpans(disk, attempt, next);
    for (const { offsetBytes, lengthBytes } of spans) {
      for (let at = offsetBytes; at < offsetBytes + lengthBytes; ) {
        const left = offsetBytes + lengthBytes - at;
        const length = Math.min(RANGE_LENGTHS[next(RANGE_LENGTHS.length)] ?? 1, left);
        ranges.push({ offsetBytes: at, lengthBytes: length });
        at += length;
      }
    }
    for (let left = ranges.length; left > 1; left--) {
      const other = next(left);
      [ranges[left - 1], ranges[other]] = [ranges[other]!, ranges[left - 1]!];
    }
    return readCompared(disk, ranges, attempt);
  });
}

/** Reads ranges and compares them with what they should be, where that is known. */
async function readCompared(
  disk: Disk,
  ranges: readonly { offsetBytes: number; lengthBytes: number }[],
  attempt: Attempt,
): Promise<End> {
  const { signal } = attempt;
  const reference = referenceOf(attempt);
  let difference: unknown;
  for (const { offsetBytes, lengthBytes } of ranges) {
    const bytes = new Uint8Array(lengthBytes).fill(0xee);
    await disk.read(offsetBytes, bytes, signal);
    if (reference === undefined || difference !== undefined) continue;
    const expected = await reference(offsetBytes, lengthBytes);
    try {
      requireSame(bytes, expected, offsetBytes, `a range of ${lengthBytes} bytes`);
    } catch (error) {
      difference = error;
    }
  }
  // A checksum that stands behind the data is seen last.
  await disk.drain?.(signal);
  if (difference !== undefined) throw difference;
  return readEnd(disk);
}

/** The starts and ends of data extents, what the case names, and some other places of a large disk. */
async function sampledSpans(
  disk: Disk,
  { hostile, signal }: Attempt,
  next: (below: number) => number,
): Promise<{ offsetBytes: number; lengthBytes: number }[]> {
  const size = disk.virtualSizeBytes;
  const spanAt = (offsetBytes: number) => ({
    offsetBytes: Math.min(Math.max(0, offsetBytes), size),
    lengthBytes: Math.min(4096, size - Math.min(Math.max(0, offsetBytes), size)),
  });
  const spans = [...(hostile.at ?? []), 0, size - 4096].map(spanAt);
  let extentCount = 0;
  for await (const { offsetBytes, lengthBytes, kind } of disk.extents(0, size, signal)) {
    if (kind !== 'data') continue;
    spans.push(spanAt(offsetBytes), spanAt(offsetBytes + lengthBytes - 4096));
    if (++extentCount >= SAMPLED_EXTENTS) break;
  }
  for (let count = 0; count < 16; count++) spans.push(spanAt(next(size)));
  return spans;
}

function readBytes(attempt: Attempt): Promise<End> {
  return withDisk(attempt, async (disk) => {
    const size = disk.virtualSizeBytes;
    const next = numbers(7 + (size % 1000));
    const places: number[] = [];
    if (size <= SMALL_BYTES) {
      const step = Math.max(512, Math.ceil(size / SAMPLED_BYTES / 512) * 512);
      for (let at = 0; at < size; at += step) places.push(Math.min(size - 1, at + next(step)));
    } else {
      for (const span of await sampledSpans(disk, attempt, next)) {
        if (span.lengthBytes > 0) places.push(span.offsetBytes, span.offsetBytes + span.lengthBytes - 1);
      }
    }
    return readCompared(
      disk,
      places.map((offsetBytes) => ({ offsetBytes, lengthBytes: 1 })),
      attempt,
    );
  });
}

async function readForward(attempt: Attempt): Promise<End> {
  const { image } = attempt.hostile;
  if (image.lengthBytes > FORWARD_BYTES) return { kind: 'none' };
  const source = takingTurns(forwardSource(arriving(attempt), image.lengthBytes, 'hostile'));
  return withDisk(
    attempt,
    async (disk) => {
      const digest = await diskDigest(disk, { signal: attempt.signal });
      await disk.drain?.(attempt.signal);
      await source.drain(attempt.signal);
      const { kept } = attempt;
      if (kept.digest !== undefined && kept.digest !== digest)
        throw new Error('from a stream, the disk reads as something else');
      return readEnd(disk, digest);
    },
    source,
  );
}

/** What has arrived is read from memory: timers have their turn all the same. */
function takingTurns(source: ForwardSource): ForwardSource {
  let readCount = 0;
  const read: ForwardSource['read'] = async (offsetBytes, into, signal) => {
    if (++readCount % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
    await source.read(offsetBytes, into, signal);
  };
  return new Proxy(source, {
    get(target, key) {
      if (key === 'read') return read;
      if (key === 'sequential') return true;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** The file in chunks as a network gives them. */
async function* arriving({ hostile, signal }: Attempt): AsyncGenerator<Uint8Array, void, undefined> {
  const { image } = hostile;
  const source = corpusSource(image, 'arriving');
  const next = numbers(image.lengthBytes % 1000);
  for (let at = 0; at < image.lengthBytes; ) {
    const chunk = new Uint8Array(Math.min(image.lengthBytes - at, 1 + next(150_000)));
    await source.read(at, chunk, signal);
    yield chunk;
    at += chunk.length;
  }
}

/** A copy in two forms, one of which may take compressed data over as it is: both read as the disk does. */
function readCopied(attempt: Attempt): Promise<End> {
  return withDisk(attempt, async (disk) => {
    if (disk.virtualSizeBytes > SMALL_BYTES || disk.virtualSizeBytes === 0) return { kind: 'none' };
    const { signal } = attempt;
    let digest = '';
    for (const compression of [undefined, 'zlib'] as const) {
      const sink = memorySink();
      await convert(disk, sink, { format: 'qcow2', options: {}, compression, signal });
      const copy = await openDisk(memorySource(sink.bytes()), {
        format: 'qcow2',
        references: { resolve: () => Promise.reject(new Error('a copy names a file')) },
      });
      digest = await diskDigest(copy).catch((error) => {
        throw new Error(`the copy cannot be read: ${error}`);
      });
      if (attempt.kept.digest !== undefined && attempt.kept.digest !== digest)
        throw new Error('the copy reads as something else');
    }
    await disk.drain?.(signal);
    return readEnd(disk, digest);
  });
}

async function check(attempt: Attempt): Promise<End> {
  const source = corpusSource(attempt.hostile.image, 'hostile');
  const { format: declared } = attempt.hostile;
  const format =
    declared === undefined
      ? await probeFormat(source, attempt.signal)
      : formats.find(({ name }) => name === declared);
  if (format?.check === undefined) return { kind: 'none' };
  const checked = await endOf(async () => {
    await format.check?.(source, optionsOf(attempt));
    return { kind: 'none' };
  });
  if (checked.kind === 'failed') return checked;
  await format.repair?.(source, optionsOf(attempt));
  return checked;
}
