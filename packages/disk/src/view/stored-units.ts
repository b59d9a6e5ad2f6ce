import { GRAIN_MARKER_BYTES, grainDataBytes, grainMarkerProblem } from '../bytes/grain-marker.ts';
import { ceilDivide } from '../bytes/numbers.ts';
import { mapOrdered } from '../convert/bounded.ts';
import type { Disk, StoredRun } from '../disk/disk.ts';
import { ImageError } from '../errors.ts';
import type { ByteSource } from '../io/byte-source.ts';
import type { Compression } from '../io/codec.ts';
import { AllocationMap } from './allocation-map.ts';

/** The units of a disk as they are stored, each compressed by itself or plain. */
export interface StoredUnits {
  readonly virtualSizeBytes: number;
  /** Which units hold data; its block is the unit. */
  readonly map: AllocationMap;
  /** Stored bytes of a used unit. What is compressed ends by itself and may be followed by others' bytes. */
  storedLength(unit: number): number;
  /** True for a used unit that is stored as it is, in as many bytes as it has. */
  isPlain(unit: number): boolean;
  /** Where the stored bytes of a used unit stand. */
  storedPlace(unit: number): { readonly source: ByteSource; readonly offsetBytes: number };
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

/** 256 GiB in units of 64 KiB, and 80 MiB of memory: a disk with more data has no stored units. */
const UNITS_MAX: number = 2 ** 22;
const MARKERS_AT_ONCE = 16;
/** RFC 1950: two bytes in front of deflate when there is no dictionary, four of Adler-32 behind it. */
const ZLIB_HEAD_BYTES = 2;
const ZLIB_TAIL_BYTES = 4;

/**
 * The stored units of a disk in a form, where all of its data stands in such units already; undefined where some
 * of it does not, such as a unit of another length or compression, or where nothing is compressed. The compressed
 * data itself is not looked at. Costs a walk over the stored runs, a read for each grain of a VMDK, and about 20
 * bytes of memory for each unit.
 */
export async function storedUnits(
  disk: Disk,
  form: StoredForm,
  signal?: AbortSignal,
): Promise<StoredUnits | undefined> {
  if (disk.storedRuns === undefined || disk.sequential === true) return undefined;
  const { virtualSizeBytes } = disk;
  const list = new UnitList(form);
  const runs = apart(disk.storedRuns(0, virtualSizeBytes, signal));
  for await (const unit of mapOrdered(
    runs,
    MARKERS_AT_ONCE,
    async (run) => run && inForm(run, form, signal),
  )) {
    if (unit === undefined || !list.add(unit)) return undefined;
  }
  return list.hasCompressed ? list.units(virtualSizeBytes) : undefined;
}

/** The runs, ended by undefined where one overlaps another: a delta may cover a part of its parent's unit. */
async function* apart(runs: AsyncIterable<StoredRun>): AsyncGenerator<StoredRun | undefined> {
  let endBytes = 0;
  for await (const run of runs) {
    yield run.offsetBytes < endBytes ? undefined : run;
    endBytes = Math.max(endBytes, run.offsetBytes + run.lengthBytes);
  }
}

/** Units that follow each other: some plain ones, a compressed one, or none where nothing is stored. */
interface FoundUnits {
  readonly first: number;
  readonly count: number;
  readonly isPlain: boolean;
  readonly source: ByteSource;
  readonly offsetBytes: number;
  /** Of each. */
  readonly lengthBytes: number;
}

async function inForm(
  run: StoredRun,
  form: StoredForm,
  signal: AbortSignal | undefined,
): Promise<FoundUnits | 'none' | undefined> {
  const { unitBytes } = form;
  if (run.kind !== 'plain' && run.kind !== 'packed') return run.kind === 'opaque' ? undefined : 'none';
  if (run.offsetBytes % unitBytes !== 0) return undefined;
  const first = run.offsetBytes / unitBytes;
  if (run.kind === 'plain') {
    if (!form.takesPlain || run.lengthBytes % unitBytes !== 0) return undefined;
    const { source, sourceBytes: offsetBytes } = run;
    return {
      first,
      count: run.lengthBytes / unitBytes,
      isPlain: true,
      source,
      offsetBytes,
      lengthBytes: unitBytes,
    };
  }
  const place =
    run.lengthBytes === unitBytes ? await compressedPlace(run, form.compression, signal) : undefined;
  if (place === undefined || place.lengthBytes > form.limitBytes) return undefined;
  return { first, count: 1, isPlain: false, source: run.source, ...place };
}

type PackedRun = Extract<StoredRun, { kind: 'packed' }>;

/** Where a unit's data stands in the frame of `compression`; undefined where it has to be made anew. */
async function compressedPlace(
  run: PackedRun,
  compression: Compression,
  signal: AbortSignal | undefined,
): Promise<{ readonly offsetBytes: number; readonly lengthBytes: number } | undefined> {
  const { sourceBytes, storedBytes, grainSector } = run;
  if (grainSector === undefined) {
    // What follows the data belongs to nobody, except to a frame that is told apart by its end.
    const isAsItIs = run.compression === compression && compression !== 'zlib';
    return isAsItIs ? { offsetBytes: sourceBytes, lengthBytes: storedBytes } : undefined;
  }
  const record = new Uint8Array(GRAIN_MARKER_BYTES + ZLIB_HEAD_BYTES);
  await run.source.read(sourceBytes - GRAIN_MARKER_BYTES, record, signal);
  const lengthBytes = requireGrain(run, grainSector, record);
  if (compression === 'zlib') return { offsetBytes: sourceBytes, lengthBytes };
  const bareBytes = lengthBytes - ZLIB_HEAD_BYTES - ZLIB_TAIL_BYTES;
  if (compression !== 'deflate-raw' || bareBytes <= 0 || hasDictionary(record)) return undefined;
  return { offsetBytes: sourceBytes + ZLIB_HEAD_BYTES, lengthBytes: bareBytes };
}

/** The length of a grain's data, as its marker says. Throws IMAGE_MALFORMED for a marker of another grain. */
function requireGrain(run: PackedRun, sector: number, record: Uint8Array): number {
  const dataBytes = grainDataBytes(record);
  const problem =
    grainMarkerProblem(record, sector, run.lengthBytes) ??
    (dataBytes > run.storedBytes
      ? `the compressed grain of ${dataBytes} bytes runs into the next one`
      : undefined);
  if (problem === undefined) return dataBytes;
  throw new ImageError('IMAGE_MALFORMED', problem, {
    structure: 'VMDK compressed grain',
    offsetBytes: run.sourceBytes - GRAIN_MARKER_BYTES,
    hint: 'the file is damaged: copy or download it again',
  });
}

/** FDICT of RFC 1950. */
function hasDictionary(record: Uint8Array): boolean {
  return ((record[GRAIN_MARKER_BYTES + 1] ?? 0) & 0x20) !== 0;
}

/** Stored units in the order of the disk. */
class UnitList {
  hasCompressed = false;
  readonly #unitBytes: number;
  readonly #sources: ByteSource[] = [];
  #units = new Float64Array(1024);
  #offsets = new Float64Array(1024);
  /** Of a plain unit the complement. */
  #lengths = new Int32Array(1024);
  #sourceIndices = new Uint16Array(1024);
  #count = 0;

  constructor({ unitBytes }: StoredForm) {
    this.#unitBytes = unitBytes;
  }

  /** False when there are too many. */
  add(found: FoundUnits | 'none'): boolean {
    if (found === 'none') return true;
    const { first, count, isPlain, source, offsetBytes, lengthBytes } = found;
    const sourceIndex = this.#sourceIndex(source);
    const end = this.#count + count;
    if (end > UNITS_MAX || sourceIndex > 0xffff) return false;
    while (end > this.#units.length) this.#grow();
    for (let i = 0; i < count; i++) {
      const at = this.#count + i;
      this.#units[at] = first + i;
      this.#offsets[at] = offsetBytes + i * lengthBytes;
      this.#lengths[at] = isPlain ? ~lengthBytes : lengthBytes;
      this.#sourceIndices[at] = sourceIndex;
    }
    this.#count = end;
    this.hasCompressed ||= !isPlain;
    return true;
  }

  units(virtualSizeBytes: number): StoredUnits {
    const used = this.#units.subarray(0, this.#count);
    const map = AllocationMap.ofBlocks(this.#unitBytes, ceilDivide(virtualSizeBytes, this.#unitBytes), used);
    const lengthAt = (unit: number) => this.#lengths[map.rank(unit)] ?? 0;
    return {
      virtualSizeBytes,
      map,
      storedLength: (unit) => (lengthAt(unit) < 0 ? this.#unitBytes : lengthAt(unit)),
      isPlain: (unit) => lengthAt(unit) < 0,
      storedPlace: (unit) => {
        const rank = map.rank(unit);
        const source = this.#sources[this.#sourceIndices[rank] ?? 0] as ByteSource;
        return { source, offsetBytes: this.#offsets[rank] ?? 0 };
      },
    };
  }

  #sourceIndex(source: ByteSource): number {
    const known = this.#sources.lastIndexOf(source);
    return known >= 0 ? known : this.#sources.push(source) - 1;
  }

  #grow(): void {
    const length = this.#units.length * 2;
    const grown = <Numbers extends Float64Array | Int32Array | Uint16Array>(into: Numbers, from: Numbers) => {
      into.set(from);
      return into;
    };
    this.#units = grown(new Float64Array(length), this.#units);
    this.#offsets = grown(new Float64Array(length), this.#offsets);
    this.#lengths = grown(new Int32Array(length), this.#lengths);
    this.#sourceIndices = grown(new Uint16Array(length), this.#sourceIndices);
  }
}
