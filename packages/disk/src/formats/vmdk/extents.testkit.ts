// Files of extents: supplying them, and making those that no program of ours writes.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type ReferenceGate, type ResolvedReference, suppliedReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import { fileSource } from '../../io/node-file.ts';

/** Every file of a folder under its own name. */
export async function folderGate(path: string): Promise<ReferenceGate> {
  const names = await readdir(path);
  return suppliedReferences(
    new Map(names.map((name) => [name, async () => ({ source: await fileSource(join(path, name)) })])),
  );
}

/** Bytes under names; counts what was opened and closed. */
export function bytesGate(files: Readonly<Record<string, Uint8Array>>): ReferenceGate & {
  readonly asked: string[];
  openCount(): number;
} {
  const asked: string[] = [];
  let open = 0;
  const supplied = new Map(
    Object.entries(files).map(([name, bytes]) => [
      name,
      async (): Promise<ResolvedReference> => {
        open++;
        return { source: { ...memorySource(bytes, name), close: async () => void open-- } };
      },
    ]),
  );
  const gate = suppliedReferences(supplied);
  return {
    asked,
    openCount: () => open,
    resolve(reference, signal) {
      asked.push(`${reference.kind} ${reference.name}`);
      return gate.resolve(reference, signal);
    },
  };
}

export interface DescriptorText {
  readonly createType: string;
  readonly extents: readonly string[];
  readonly cid?: string;
  readonly parentCid?: string;
  readonly parentName?: string;
  readonly lineEnd?: string;
}

/** A descriptor file. */
export function descriptorFile(text: DescriptorText): Uint8Array {
  const { createType, extents, cid = '12345678', parentCid = 'ffffffff', parentName, lineEnd = '\n' } = text;
  const lines = [
    '# Disk DescriptorFile',
    'version=1',
    `CID=${cid}`,
    `parentCID=${parentCid}`,
    ...(parentName === undefined ? [] : [`parentFileNameHint="${parentName}"`]),
    `createType="${createType}"`,
    '',
    ...extents,
    '',
    'ddb.adapterType = "lsilogic"',
    '',
  ];
  return Buffer.from(lines.join(lineEnd));
}

/** A COWD extent with its grains in this order. Tables are there where there are grains. */
export function cowdExtent(
  capacitySectors: number,
  grains: ReadonlyMap<number, Uint8Array>,
  grainSectors = 1,
): Uint8Array<ArrayBuffer> {
  const tableCount = Math.ceil(capacitySectors / (grainSectors * 4096));
  const directorySectors = Math.ceil((tableCount * 4) / 512);
  const used = [...new Set([...grains.keys()].map((grain) => Math.floor(grain / 4096)))].sort(
    (a, b) => a - b,
  );
  const tableSector = new Map(used.map((index, i) => [index, 4 + directorySectors + i * 32]));
  const firstGrain = 4 + directorySectors + used.length * 32;
  const file = Buffer.alloc((firstGrain + grains.size * grainSectors) * 512);
  file.write('COWD');
  const words = [1, 3, capacitySectors, grainSectors, 4, tableCount, file.length / 512];
  for (const [i, word] of words.entries()) file.writeUInt32LE(word, 4 + i * 4);
  for (const [index, sector] of tableSector) file.writeUInt32LE(sector, 4 * 512 + index * 4);
  let sector = firstGrain;
  for (const [grain, bytes] of grains) {
    const table = tableSector.get(Math.floor(grain / 4096)) ?? 0;
    file.writeUInt32LE(sector, table * 512 + (grain % 4096) * 4);
    file.set(bytes, sector * 512);
    sector += grainSectors;
  }
  return Uint8Array.from(file);
}

/** Where the parts of an extent of `seSparseExtent` stand, in sectors. */
export const SE_SPARSE = { volatileHeader: 1, journalHeader: 2, journal: 4, directory: 12 } as const;

/** A seSparse extent with its grains of 4 KiB in this order, and grains that are known to be zero. */
export function seSparseExtent(
  capacitySectors: number,
  grains: ReadonlyMap<number, Uint8Array>,
  zeroed: ReadonlyMap<number, 'unmapped' | 'zero'> = new Map(),
): Uint8Array<ArrayBuffer> {
  const tableCount = Math.ceil(capacitySectors / (8 * 4096));
  const directorySectors = Math.ceil((tableCount * 8) / 512);
  const used = [...new Set([...grains.keys(), ...zeroed.keys()].map((grain) => Math.floor(grain / 4096)))];
  const { directory } = SE_SPARSE;
  const tables = directory + directorySectors;
  const bitmap = tables + used.length * 64;
  const backMap = bitmap + 8;
  const first = backMap + 8;
  const file = Buffer.alloc((first + grains.size * 8) * 512);
  const fields: [number, bigint | number][] = [
    [0, 0xcafebabe],
    [8, 0x0000000200000001n],
    [16, capacitySectors],
    [24, 8],
    [32, 64],
  ];
  const ranges = [
    [SE_SPARSE.volatileHeader, 1],
    [SE_SPARSE.journalHeader, 2],
    [SE_SPARSE.journal, 8],
    [directory, directorySectors],
    [tables, used.length * 64],
    [bitmap, 8],
    [backMap, 8],
    [first, grains.size * 8],
  ];
  for (const [i, [start = 0, count = 0]] of ranges.entries()) {
    fields.push([80 + i * 16, start], [88 + i * 16, count]);
  }
  fields.push([SE_SPARSE.volatileHeader * 512, 0xcafecafe]);
  for (const [at, value] of fields) file.writeBigUInt64LE(BigInt(value), at);
  for (const [number, index] of used.entries()) {
    file.writeBigUInt64LE(0x1000000000000000n + BigInt(number), directory * 512 + index * 8);
  }
  const entryAt = (grain: number) =>
    (tables + used.indexOf(Math.floor(grain / 4096)) * 64) * 512 + (grain % 4096) * 8;
  for (const [grain, kind] of zeroed) {
    file.writeBigUInt64LE(kind === 'zero' ? 2n << 60n : 1n << 60n, entryAt(grain));
  }
  for (const [i, [grain, bytes]] of [...grains].entries()) {
    const number = BigInt(i);
    const entry = (3n << 60n) + ((number & 0xfffn) << 48n) + (number >> 12n);
    file.writeBigUInt64LE(entry, entryAt(grain));
    file.set(bytes, (first + i * 8) * 512);
  }
  return Uint8Array.from(file);
}
