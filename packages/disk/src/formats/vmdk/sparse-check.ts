import { isZero } from '../../bytes/fields.ts';
import { GRAIN_MARKER_BYTES, grainDataBytes, grainMarkerProblem } from '../../bytes/grain-marker.ts';
import { roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { mapOrdered } from '../../convert/bounded.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { directoryProblems, readDirectory, redundantTablesInFront, sameShape } from './directory.ts';
import { BitClaims, GrainClaims } from './grain-claims.ts';
import type { SparseHeader } from './header.ts';
import { addDamage, type PartFindings } from './part-findings.ts';
import { GrainTables } from './tables.ts';

const DIRECTORY = 'VMDK grain directory';
const REDUNDANT_DIRECTORY = 'VMDK redundant grain directory';
const TABLE = 'VMDK grain table';
const MARKER = 'VMDK grain marker';
const MARKERS_AT_ONCE = 16;

/** Where the tables of the extent are: the footer, where it has one. */
type TableHeader = SparseHeader & { readonly directorySector: number };

/** Looks at both directories, all tables and, of compressed grains, the markers. */
export function checkSparse(
  source: ByteSource,
  header: TableHeader,
  hasFooter: boolean,
  findings: PartFindings,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new SparseCheck(source, header, hasFooter, findings, signal).run();
}

interface GrainPlace {
  readonly sector: number;
  readonly lbaSectors: number;
}

class SparseCheck {
  readonly #source: ByteSource;
  readonly #header: TableHeader;
  readonly #hasFooter: boolean;
  readonly #findings: PartFindings;
  readonly #signal: AbortSignal | undefined;
  readonly #claims: { claim(sector: number): boolean };
  /** Where the last compressed grain ends. */
  #grainsEndBytes: number;

  constructor(
    source: ByteSource,
    header: TableHeader,
    hasFooter: boolean,
    findings: PartFindings,
    signal: AbortSignal | undefined,
  ) {
    this.#source = source;
    this.#header = header;
    this.#hasFooter = hasFooter;
    this.#findings = findings;
    this.#signal = signal;
    this.#claims = header.grainSectors === 1 ? new BitClaims() : new GrainClaims(header.grainSectors);
    this.#grainsEndBytes = header.overheadSectors * SECTOR_BYTES;
  }

  async run(): Promise<void> {
    const header = this.#header;
    const directory = await this.#soundDirectory(header.directorySector, DIRECTORY);
    const redundant = await this.#redundantDirectory(directory);
    const reserved =
      redundant !== undefined && redundantTablesInFront(header, redundant) ? redundant : undefined;
    const tables = new GrainTables(this.#source, header, directory, reserved);
    const others = redundant === undefined ? undefined : new GrainTables(this.#source, header, redundant);
    for (let index = 0; index < directory.length; index++) {
      this.#signal?.throwIfAborted();
      const table = await tables.table(index, this.#signal);
      if (table === undefined) continue;
      await this.#checkTable(tables, index, table);
      const other = await others?.table(index, this.#signal);
      if (other?.some((sector, i) => sector !== table[i])) {
        const message = `grain table ${index} differs from its redundant copy; VirtualBox refuses such a file`;
        this.#findings.add('corruption', TABLE, message, tables.entryOffset(index, 0));
      }
    }
    if (header.compressed && !this.#hasFooter) await this.#checkStreamEnd();
  }

  /** The directory without the entries that cannot be followed; these are findings. */
  async #soundDirectory(sector: number, structure: string): Promise<Uint32Array> {
    const header = this.#header;
    const directory = await readDirectory(this.#source, header, sector, structure, this.#signal);
    for (const problem of directoryProblems(this.#source, header, sector, directory)) {
      this.#findings.add('corruption', structure, problem.message, problem.offsetBytes);
      directory[problem.index] = 0;
    }
    return directory;
  }

  /** A broken redundant directory does not hide the other. */
  async #redundantDirectory(directory: Uint32Array): Promise<Uint32Array | undefined> {
    const sector = this.#header.redundantDirectorySector;
    if (sector === undefined) return undefined;
    try {
      const redundant = await this.#soundDirectory(sector, REDUNDANT_DIRECTORY);
      if (!sameShape(directory, redundant)) {
        const message = 'the two grain directories do not have tables for the same parts of the disk';
        this.#findings.add('corruption', REDUNDANT_DIRECTORY, message, sector * SECTOR_BYTES);
      }
      return redundant;
    } catch (error) {
      addDamage(this.#findings, error);
      return undefined;
    }
  }

  async #checkTable(tables: GrainTables, index: number, table: Uint32Array): Promise<void> {
    const header = this.#header;
    const grainBytes = header.grainSectors * SECTOR_BYTES;
    const capacityBytes = header.capacitySectors * SECTOR_BYTES;
    const marked: GrainPlace[] = [];
    for (const [entry, sector] of table.entries()) {
      if (sector === 0 || tables.isZeroed(sector)) continue;
      const grain = index * header.tableEntryCount + entry;
      const entryOffset = tables.entryOffset(index, entry);
      const lengthBytes = Math.min(grainBytes, capacityBytes - grain * grainBytes);
      if (lengthBytes <= 0) {
        this.#findings.add('leak', TABLE, `grain ${grain} lies beyond the end of the disk`, entryOffset);
        continue;
      }
      const problem = tables.placeProblem(sector, lengthBytes, index, entry);
      if (problem !== undefined) {
        this.#findings.add('corruption', TABLE, `grain ${grain}: ${problem.message}`, entryOffset);
      } else if (header.compressed) {
        marked.push({ sector, lbaSectors: grain * header.grainSectors });
      } else if (!this.#claims.claim(sector)) {
        const message = `grain ${grain} shares sectors of the file with another grain, at sector ${sector}`;
        this.#findings.add('corruption', TABLE, message, entryOffset);
      }
    }
    await this.#checkMarkers(marked);
  }

  async #checkMarkers(places: readonly GrainPlace[]): Promise<void> {
    const grainBytes = this.#header.grainSectors * SECTOR_BYTES;
    const read = async ({ sector, lbaSectors }: GrainPlace) => {
      const marker = new Uint8Array(GRAIN_MARKER_BYTES);
      const offsetBytes = sector * SECTOR_BYTES;
      await this.#source.read(offsetBytes, marker, this.#signal);
      const endBytes = offsetBytes + GRAIN_MARKER_BYTES + grainDataBytes(marker);
      const problem = grainMarkerProblem(marker, lbaSectors, grainBytes);
      if (problem !== undefined || endBytes <= this.#source.lengthBytes)
        return { offsetBytes, endBytes, problem };
      return {
        offsetBytes,
        endBytes,
        problem: `the grain for sector ${lbaSectors} runs beyond the end of the file`,
      };
    };
    for await (const { offsetBytes, endBytes, problem } of mapOrdered(places, MARKERS_AT_ONCE, read)) {
      if (problem !== undefined) this.#findings.add('corruption', MARKER, problem, offsetBytes);
      else this.#grainsEndBytes = Math.max(this.#grainsEndBytes, roundUp(endBytes, SECTOR_BYTES));
    }
  }

  /** A file whose tables are in front ends with a sector of zeros; who reads it as a stream waits for that. */
  async #checkStreamEnd(): Promise<void> {
    const offsetBytes = this.#grainsEndBytes;
    if (offsetBytes + SECTOR_BYTES <= this.#source.lengthBytes) {
      const end = new Uint8Array(SECTOR_BYTES);
      await this.#source.read(offsetBytes, end, this.#signal);
      if (isZero(end)) return;
    }
    const message =
      'no end-of-stream marker follows the last grain; VirtualBox cannot read such a file from an OVA';
    this.#findings.add('warning', 'VMDK end-of-stream marker', message, offsetBytes);
  }
}
