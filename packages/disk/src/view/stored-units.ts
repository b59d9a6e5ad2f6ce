import { viewOf } from '../bytes/fields.ts';
import { GRAIN_MARKER_BYTES, grainDataBytes, grainMarkerProblem } from '../bytes/grain-marker.ts';
import { ceilDivide } from '../bytes/numbers.ts';
import { mapOrdered } from '../convert/bounded.ts';
import type { ProgressListener } from '../convert/progress.ts';
import type { Disk, StoredRun } from '../disk/disk.ts';
import { ImageError, invariant } from '../errors.ts';
import type { ByteSource } from '../io/byte-source.ts';
import type { Compression } from '../io/codec.ts';
import { lookAtUnit } from '../io/node-work.ts';
import { AllocationMap } from './allocation-map.ts';
import type { Piece } from './layout.ts';

/**
 * The units of a disk as they are stored, each compressed by itself or plain. A unit is asked for with its rank
 * among the used ones.
 */
export interface StoredUnits {
  readonly virtualSizeBytes: number;
  /** Which units hold data; its block is the unit. */
  readonly map: AllocationMap;
  /** Stored bytes of a used unit. */
  lengthOf(unit: number, rank: number): number;
  /** True for a used unit that is stored as it is, in as many bytes as it has. */
  isPlain(unit: number, rank: number): boolean;
  /** All stored bytes of a used unit. */
  pieces(unit: number, rank: number): readonly Piece[];
}

/** What a form takes units in. */
export interface StoredForm {
  readonly unitBytes: number;
  readonly compression: Compression;
  /** Whether a unit may be stored as it is. */
  readonly takesPlain: boolean;
  /** Most stored bytes of a compressed unit. */
  readonly limitBytes: number;
}

export interface StoredUnitsOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** 256 GiB in units of 64 KiB, and 80 MiB of memory: a disk with more data has no stored units. */
const UNITS_MAX: number = 2 ** 22;
const LOOKS_AT_ONCE = 16;
/** RFC 1950: CMF and FLG for a window of 32 KiB without a dictionary, and behind the deflate data Adler-32. */
const ZLIB_HEAD: Uint8Array = Uint8Array.of(0x78, 0x9c);
const ZLIB_TAIL_BYTES = 4;
const ZLIB_FRAME_BYTES: number = ZLIB_HEAD.length + ZLIB_TAIL_BYTES;
const PLAIN = -1;
const SOURCE_INDEX_MAX = 0xffff;

/**
 * The stored units of a disk in a form, where all of its data stands in such units already; undefined where some
 * of it does not, such as a unit of another length or compression, one whose end is missing, one that holds
 * anything behind the disk's end, or where nothing is compressed. Deflate is taken with or without zlib's frame.
 * Everything compressed is decompressed once, to look at it and to see where it ends: throws IMAGE_MALFORMED for
 * what is damaged. Memory: about 20 bytes for each unit.
 */
export async function storedUnits(
  disk: Disk,
  form: StoredForm,
  { signal, onProgress }: StoredUnitsOptions = {},
): Promise<StoredUnits | undefined> {
  if (disk.storedRuns === undefined || disk.sequential === true) return undefined;
  const { virtualSizeBytes: totalBytes } = disk;
  const list = new UnitList(form, totalBytes);
  const runs = apart(disk.storedRuns(0, totalBytes, signal));
  const looking = mapOrdered(
    runs,
    LOOKS_AT_ONCE,
    async (run) => run && inForm(run, form, totalBytes, signal),
  );
  for await (const found of looking) {
    if (found === undefined || !list.add(found)) return undefined;
    const doneBytes = Math.min(found.endBytes, totalBytes);
    onProgress?.({ phase: 'check', doneBytes, totalBytes });
  }
  return list.hasCompressed ? list.units(totalBytes) : undefined;
}

/** The runs, ended by undefined where one overlaps another: a delta may cover a part of its parent's unit. */
async function* apart(runs: AsyncIterable<StoredRun>): AsyncGenerator<StoredRun | undefined> {
  let endBytes = 0;
  for await (const run of runs) {
    yield run.offsetBytes < endBytes ? undefined : run;
    endBytes = Math.max(endBytes, run.offsetBytes + run.lengthBytes);
  }
}

/** A run as units that follow each other: some plain ones, a compressed one, or none where nothing is stored. */
interface FoundUnits {
  /** Where the run ends on the disk. */
  readonly endBytes: number;
  readonly first: number;
  readonly count: number;
  readonly source?: ByteSource;
  readonly offsetBytes: number;
  /** Of each in the source. */
  readonly lengthBytes: number;
  readonly isPlain: boolean;
  /** Set for deflate that is given zlib's frame. */
  readonly adler32?: number | undefined;
}

async function inForm(
  run: StoredRun,
  form: StoredForm,
  diskBytes: number,
  signal: AbortSignal | undefined,
): Promise<FoundUnits | undefined> {
  const { unitBytes } = form;
  const endBytes = run.offsetBytes + run.lengthBytes;
  const first = run.offsetBytes / unitBytes;
  if (run.kind !== 'plain' && run.kind !== 'packed') {
    const nothing = { endBytes, first, count: 0, offsetBytes: 0, lengthBytes: 0, isPlain: true };
    return run.kind === 'opaque' ? undefined : nothing;
  }
  if (!Number.isInteger(first)) return undefined;
  if (run.kind === 'plain') {
    const count = run.lengthBytes / unitBytes;
    if (!form.takesPlain || !Number.isInteger(count)) return undefined;
    const { source, sourceBytes } = run;
    return {
      endBytes,
      first,
      count,
      source,
      offsetBytes: sourceBytes,
      lengthBytes: unitBytes,
      isPlain: true,
    };
  }
  if (run.lengthBytes !== unitBytes) return undefined;
  const place = await compressedPlace(run, form, diskBytes, signal);
  return place && { endBytes, first, count: 1, source: run.source, isPlain: false, ...place };
}

type PackedRun = Extract<StoredRun, { kind: 'packed' }>;

/** Where a unit's data stands, as the form wants it; undefined where it has to be made anew. */
async function compressedPlace(
  run: PackedRun,
  { compression, limitBytes }: StoredForm,
  diskBytes: number,
  signal: AbortSignal | undefined,
): Promise<Pick<FoundUnits, 'offsetBytes' | 'lengthBytes' | 'adler32'> | undefined> {
  const isFramed = run.compression === 'zlib';
  const isDeflate = isFramed || run.compression === 'deflate-raw';
  if (run.compression !== compression && !(isDeflate && compression !== 'zstd')) return undefined;
  const stored = await storedBytes(run, signal);
  const look = await lookAtUnit(
    {
      stored,
      compression: run.compression,
      lengthBytes: run.lengthBytes,
      endBytes: Math.min(run.lengthBytes, diskBytes - run.offsetBytes),
      offsetBytes: run.sourceBytes,
    },
    { source: run.source.name, structure: 'compressed data' },
  );
  if (look === undefined) return undefined;
  const { usedBytes, adler32 } = look;
  const { sourceBytes: offsetBytes } = run;
  if (run.compression === compression) {
    return usedBytes <= limitBytes ? { offsetBytes, lengthBytes: usedBytes } : undefined;
  }
  if (isFramed) {
    const lengthBytes = usedBytes - ZLIB_FRAME_BYTES;
    return lengthBytes <= limitBytes
      ? { offsetBytes: offsetBytes + ZLIB_HEAD.length, lengthBytes }
      : undefined;
  }
  return usedBytes + ZLIB_FRAME_BYTES <= limitBytes
    ? { offsetBytes, lengthBytes: usedBytes, adler32 }
    : undefined;
}

/** What is stored of a unit; of a VMDK's grain what its marker says. Throws IMAGE_MALFORMED for another's marker. */
async function storedBytes(run: PackedRun, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const { source, sourceBytes, grainSector } = run;
  const markerBytes = grainSector === undefined ? 0 : GRAIN_MARKER_BYTES;
  const record = new Uint8Array(markerBytes + run.storedBytes);
  await source.read(sourceBytes - markerBytes, record, signal);
  if (grainSector === undefined) return record;
  const dataBytes = grainDataBytes(record);
  const problem =
    grainMarkerProblem(record, grainSector, run.lengthBytes) ??
    (dataBytes > run.storedBytes
      ? `the compressed grain of ${dataBytes} bytes runs into the next one`
      : undefined);
  if (problem === undefined) return record.subarray(markerBytes, markerBytes + dataBytes);
  throw new ImageError('IMAGE_MALFORMED', problem, {
    structure: 'VMDK compressed grain',
    offsetBytes: sourceBytes - markerBytes,
    hint: 'the file is damaged: copy or download it again',
  });
}

/** Stored units in the order of the disk. */
class UnitList {
  hasCompressed = false;
  readonly #unitBytes: number;
  readonly #unitCount: number;
  /** A bit for each unit of the disk. */
  readonly #used: Uint8Array;
  readonly #sources: ByteSource[] = [];
  #offsets = new Float64Array(1024);
  #sourceIndices = new Uint16Array(1024);
  /** Twice the bytes in the source, and one more where zlib's frame comes around them; PLAIN for what is not compressed. */
  #lengths = new Int32Array(1024);
  #sums = new Uint32Array(1024);
  #count = 0;

  constructor({ unitBytes }: StoredForm, diskBytes: number) {
    this.#unitBytes = unitBytes;
    this.#unitCount = ceilDivide(diskBytes, unitBytes);
    AllocationMap.requireCount(unitBytes, this.#unitCount);
    this.#used = new Uint8Array(ceilDivide(this.#unitCount, 8));
  }

  /** False when there are too many. */
  add({ first, count, source, offsetBytes, lengthBytes, isPlain, adler32 }: FoundUnits): boolean {
    if (source === undefined) return true;
    const sourceIndex = this.#sourceIndex(source);
    const end = this.#count + count;
    if (end > UNITS_MAX || sourceIndex > SOURCE_INDEX_MAX) return false;
    if (end > this.#offsets.length) this.#grow(end);
    for (let i = 0; i < count; i++) {
      const at = this.#count + i;
      const unit = first + i;
      const byte = Math.floor(unit / 8);
      this.#used[byte] = (this.#used[byte] ?? 0) | (1 << (unit % 8));
      this.#offsets[at] = offsetBytes + i * lengthBytes;
      this.#sourceIndices[at] = sourceIndex;
      this.#lengths[at] = isPlain ? PLAIN : lengthBytes * 2 + (adler32 === undefined ? 0 : 1);
      this.#sums[at] = adler32 ?? 0;
    }
    this.#count = end;
    this.hasCompressed ||= !isPlain;
    return true;
  }

  units(virtualSizeBytes: number): StoredUnits {
    const map = AllocationMap.ofBits(this.#unitBytes, this.#unitCount, this.#used);
    invariant(map.usedCount === this.#count, 'every unit has a place of its own in the map');
    return {
      virtualSizeBytes,
      map,
      lengthOf: (_unit, rank) => this.#lengthOf(this.#lengths[rank] ?? 0),
      isPlain: (_unit, rank) => this.#lengths[rank] === PLAIN,
      pieces: (_unit, rank) => this.#pieces(rank),
    };
  }

  #lengthOf(length: number): number {
    if (length === PLAIN) return this.#unitBytes;
    return (length >> 1) + (length & 1) * ZLIB_FRAME_BYTES;
  }

  #pieces(rank: number): readonly Piece[] {
    const source = this.#sources[this.#sourceIndices[rank] ?? 0] as ByteSource;
    const offsetBytes = this.#offsets[rank] ?? 0;
    const length = this.#lengths[rank] ?? 0;
    const lengthBytes = length === PLAIN ? this.#unitBytes : length >> 1;
    const stored = { kind: 'stored', source, offsetBytes, lengthBytes } as const;
    if (length === PLAIN || (length & 1) === 0) return [stored];
    const tail = new Uint8Array(ZLIB_TAIL_BYTES);
    viewOf(tail).setUint32(0, this.#sums[rank] ?? 0);
    return [{ kind: 'bytes', bytes: ZLIB_HEAD }, stored, { kind: 'bytes', bytes: tail }];
  }

  #sourceIndex(source: ByteSource): number {
    const known = this.#sources.lastIndexOf(source);
    return known >= 0 ? known : this.#sources.push(source) - 1;
  }

  #grow(count: number): void {
    const length = Math.max(count, this.#offsets.length * 2);
    this.#offsets = grown(new Float64Array(length), this.#offsets);
    this.#sourceIndices = grown(new Uint16Array(length), this.#sourceIndices);
    this.#lengths = grown(new Int32Array(length), this.#lengths);
    this.#sums = grown(new Uint32Array(length), this.#sums);
  }
}

function grown<Numbers extends Float64Array | Int32Array | Uint16Array | Uint32Array>(
  into: Numbers,
  from: Numbers,
): Numbers {
  into.set(from);
  return into;
}
