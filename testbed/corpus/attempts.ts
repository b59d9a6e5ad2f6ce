import {
  type ByteSource,
  convert,
  type Disk,
  diskDigest,
  type ForwardSource,
  formats,
  forwardSource,
  ImageError,
  memorySink,
  memorySource,
  type OpenDiskOptions,
  openDisk,
  probeFormat,
  type ReferenceGate,
} from '@gantry/disk';
import { readCompared, readSmall, requireSoundStoredRuns } from './compare.ts';
import { contentDisk, corpusSource } from './image.ts';
import type { Attempt, End, Way } from './ways.ts';

/** What is compared with what: at most this much of a disk is kept. */
const SMALL_BYTES = 4 * 2 ** 20;

/** Longest disk that is read from an arriving stream, and longest file that is sent as one. */
const FORWARD_BYTES = 256 * 2 ** 20;

export async function endOf(attempt: () => Promise<End>): Promise<End> {
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

export const attempts: Record<Way, (attempt: Attempt) => Promise<End>> = {
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
    await readCompared(disk, ranges, attempt);
    return readEnd(disk);
  });
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
    await readCompared(
      disk,
      places.map((offsetBytes) => ({ offsetBytes, lengthBytes: 1 })),
      attempt,
    );
    return readEnd(disk);
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
