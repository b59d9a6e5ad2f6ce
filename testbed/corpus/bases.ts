import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import zlib from 'node:zlib';
import { convert, formats, memorySink, memorySource, openDisk } from '@gantry/disk';
import { noise } from './fields.ts';
import { bytesOf, type CorpusImage, imageOfBytes } from './image.ts';
import { type Base, DATA_BYTE_MIN, metadataWords } from './mutations.ts';
import { ociImage } from './oci.ts';
import { ovaImage, ovfText } from './ova.ts';
import { type Cluster, packedClusters, qcow2Image } from './qcow2-image.ts';
import { vdiImage } from './vdi.ts';
import { fixedVhdImage, vhdImage } from './vhd.ts';
import { LOG_GUID, logEntry, vhdxImage } from './vhdx-image.ts';
import { descriptorText, sparseImage, streamImage } from './vmdk-image.ts';

/** How qemu-img makes a file of a format: its name of the format and options of `convert`. */
const qemuForms: readonly (readonly [format: string, qemuFormat: string, options: readonly string[]])[] = [
  ['qcow2', 'qcow2', ['-o', 'cluster_size=4k']],
  ['qcow2', 'qcow2', ['-o', 'cluster_size=512,compat=0.10']],
  ['qcow2', 'qcow2', ['-o', 'cluster_size=16k,extended_l2=on']],
  ['qcow2', 'qcow2', ['-c', '-o', 'cluster_size=4k']],
  ['qcow2', 'qcow2', ['-c', '-o', 'cluster_size=4k,compression_type=zstd']],
  ['qcow', 'qcow', []],
  ['vmdk', 'vmdk', []],
  ['vmdk', 'vmdk', ['-o', 'subformat=streamOptimized']],
  ['vdi', 'vdi', []],
  ['vdi', 'vdi', ['-o', 'static=on']],
  ['vhd', 'vpc', ['-o', 'force_size=on']],
  ['vhd', 'vpc', ['-o', 'subformat=fixed,force_size=on']],
  ['vhdx', 'vhdx', ['-o', 'block_size=1M']],
  ['vhdx', 'vhdx', ['-o', 'block_size=1M,subformat=fixed']],
];

/** How we make a file. What a format does not know yet, or any more, is left out. */
const ourForms: readonly (readonly [
  format: string,
  options: Record<string, string>,
  compression?: 'zlib' | 'zstd',
])[] = [
  ['qcow2', {}],
  ['qcow2', { compat: '0.10' }],
  ['qcow2', {}, 'zlib'],
  ['qcow2', {}, 'zstd'],
  ['qcow', {}],
  ['vmdk', { subformat: 'monolithicSparse' }],
  ['vmdk', { subformat: 'streamOptimized' }],
  ['vdi', {}],
  ['vhd', {}],
  ['vhd', { subformat: 'fixed' }],
  ['vhdx', {}],
  ['zvhd', {}],
  ['zvhd2', {}],
  ['oci', {}],
  ['ova', {}],
];

/** By hand: small clusters, old versions, logs and other things that no writer makes any more. */
function handMade(): (readonly [format: string, name: string, image: CorpusImage])[] {
  const tables = new Map<number, Cluster>(
    [0, 1, 63, 64, 99].map((cluster) => [cluster, { plain: noise(512, cluster + 1) }]),
  );
  const page = noise(4096, 3);
  const log = logEntry({
    sequence: 5,
    tail: 0,
    pages: [[4 * 2 ** 20 + 8192, page]],
    zeros: [[4 * 2 ** 20, 4096]],
    flushedBytes: 6 * 2 ** 20,
    lastBytes: 6 * 2 ** 20,
  });
  return [
    [
      'qcow2',
      'of clusters of 512 bytes',
      qcow2Image({ clusterBits: 9, sizeBytes: 100 * 512, clusters: tables }).image,
    ],
    ['qcow2', 'of zstd clusters', qcow2Image({ clusters: packedClusters(4096), zstd: true }).image],
    ['qcow2', 'of header length 104', qcow2Image({ headerLength: 104 }).image],
    ['vmdk', 'of grains of 4 KiB', sparseImage().image],
    ['vmdk', 'stream', streamImage().image],
    ['vmdk', 'stream, tables first', streamImage({ tablesFirst: true }).image],
    ['vdi', 'of header length 384', vdiImage({ headerBytes: 384 }).image],
    ['vdi', 'of blocks of 128 KiB', vdiImage({ blockBytes: 131072, map: [2, 0xffffffff, 0, 1] }).image],
    ['vdi', 'with extra bytes', vdiImage({ blockBytes: 131072, extraBytes: 512 }).image],
    ['vhd', 'of blocks of 64 KiB', vhdImage().image],
    ['vhd', 'fixed', fixedVhdImage(65536).image],
    ['vhdx', 'of blocks of 1 MiB', vhdxImage().image],
    [
      'vhdx',
      'with a log',
      vhdxImage({ header: [{ offsetBytes: 48, bytes: LOG_GUID }], log: [{ offsetBytes: 0, bytes: log }] })
        .image,
    ],
    [
      'vmdk',
      'descriptor',
      imageOfBytes(Buffer.from(descriptorText('twoGbMaxExtentFlat', ['RW 64 ZERO', 'RW 64 ZERO']))),
    ],
    ['gzip', 'of a raw disk', imageOfBytes(zlib.gzipSync(goodDisk()))],
    ['zstd', 'of a raw disk', imageOfBytes(zlib.zstdCompressSync(goodDisk()))],
    ['xz', 'of a raw disk', imageOfBytes(execFileSync('xz', ['-c', '-0'], { input: goodDisk() }))],
    ['gzip', 'of a qcow2', imageOfBytes(zlib.gzipSync(bytesOf(qcow2Image().image)))],
    ['zstd', 'of a qcow2', imageOfBytes(zlib.zstdCompressSync(bytesOf(qcow2Image().image)))],
    [
      'xz',
      'of a qcow2',
      imageOfBytes(execFileSync('xz', ['-c', '--block-size=16384'], { input: bytesOf(qcow2Image().image) })),
    ],
    ['oci', 'by hand', ociImage()],
    ['ova', 'by hand', ovaImage(ovfText())],
  ];
}

/** A disk of 1 MiB: noise, what compresses, zeros, an end inside a block. No byte of data looks like a number. */
function goodDisk(): Uint8Array {
  const disk = new Uint8Array(2 ** 20 - 1536);
  const data = (at: number, bytes: Uint8Array) =>
    disk.set(
      bytes.map((byte) => byte | DATA_BYTE_MIN),
      at,
    );
  data(0, noise(20_000, 1));
  data(40_960, new Uint8Array(30_000).fill(0x2a));
  data(131_072, noise(4096, 2));
  data(
    600_000,
    new Uint8Array(512).map((_, at) => at >> 3),
  );
  data(disk.length - 700, noise(700, 3));
  return disk;
}

/** Good files of every format that is read, small, for the mutations to bend. */
export async function makeBases(folder: string): Promise<Base[]> {
  const bases: Base[] = [];
  const known = new Set(formats.map(({ name }) => name));
  const add = (format: string, name: string, bytes: Uint8Array) => {
    if (known.has(format)) bases.push({ format, name, bytes, words: metadataWords(bytes) });
  };
  const raw = join(folder, 'good.raw');
  writeFileSync(raw, goodDisk());
  for (const [format, qemuFormat, options] of qemuForms) {
    const path = join(folder, 'made');
    try {
      execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', qemuFormat, ...options, raw, path], {
        stdio: 'ignore',
      });
    } catch {
      // Its qcow writer exits with 1 when all went well; what it made is looked at below.
    }
    add(format, `${format} by qemu-img ${options.join(' ')}`.trim(), readFileSync(path));
    rmSync(path);
  }
  add('qcow2', 'qcow2 by qemu-img with a snapshot and a bitmap', withSnapshot(folder, raw));
  const disk = await openDisk(memorySource(goodDisk()), { format: 'raw', references: noReferences });
  for (const [format, options, compression] of ourForms) {
    if (formats.find(({ name }) => name === format)?.plan === undefined) continue;
    const sink = memorySink();
    await convert(disk, sink, { format, options, compression, seed: new Uint8Array(32) });
    const words = [...Object.values(options), compression ?? ''].join(' ').trim();
    add(format, `${format} by us ${words}`.trim(), sink.bytes());
  }
  for (const [format, name, image] of handMade()) add(format, `${format} ${name}`, bytesOf(image));
  await requireGood(bases);
  return bases;
}

/** A qcow2 whose present state differs from its snapshot, and that has a dirty bitmap. */
function withSnapshot(folder: string, raw: string): Uint8Array {
  const path = join(folder, 'snapshot.qcow2');
  const commands = [
    ['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=4k', raw, path],
    ['qemu-img', 'snapshot', '-c', 'one', path],
    ['qemu-io', '-f', 'qcow2', '-c', 'write -P 0xaa 8k 16k', path],
    ['qemu-img', 'bitmap', '--add', path, 'bits'],
    ['qemu-io', '-f', 'qcow2', '-c', 'write -P 0xbb 64k 4k', path],
  ];
  for (const [program = '', ...words] of commands) execFileSync(program, words, { stdio: 'ignore' });
  return readFileSync(path);
}

const noReferences = { resolve: () => Promise.reject(new Error('a good file names another')) };

async function requireGood(bases: readonly Base[]): Promise<void> {
  for (const { name, format, bytes } of bases) {
    const disk = await openDisk(memorySource(bytes), { format, references: noReferences }).catch((error) => {
      throw new Error(`${name} is no good file: ${error}`);
    });
    await disk.read(0, new Uint8Array(Math.min(65536, disk.virtualSizeBytes)));
    await disk.close();
  }
}
