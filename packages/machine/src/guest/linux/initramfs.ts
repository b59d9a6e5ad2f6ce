import { type ByteSource, byteChunks, unpackChunks } from '@gantry/disk';
import type { Budget } from '../budget.ts';
import { malformed, tooMany, utf8Text } from '../fields.ts';
import {
  INITRAMFS_ARCHIVE_COUNT_MAX,
  INITRAMFS_MEMBER_COUNT_MAX,
  INITRAMFS_UNPACKED_BYTES_MAX,
  LIST_BYTES_MAX,
  PATH_BYTES_MAX,
} from '../limits.ts';
import { ChunkReader } from './chunk-reader.ts';
import { LZ4_LEGACY_MAGIC, unpackLz4 } from './lz4.ts';
import { moduleName, modulesOf } from './modules.ts';

/** What an initramfs holds of kernel modules. */
export interface InitramfsContent {
  /** `virtio_blk`, with underscores. */
  readonly modules: ReadonlySet<string>;
  /** Modules that it says are built into the kernel; undefined where it does not say. */
  readonly builtIn?: ReadonlySet<string>;
  /** Why it was not read to its end. */
  readonly cutShort?: string;
}

const compressions: readonly (readonly [
  magic: string,
  name: 'gzip' | 'zstd' | 'xz' | 'lz4' | undefined,
  title: string,
])[] = [
  ['\x1f\x8b\x08', 'gzip', 'gzip'],
  ['\x28\xb5\x2f\xfd', 'zstd', 'zstd'],
  ['\xfd7zXZ\0', 'xz', 'xz'],
  [LZ4_LEGACY_MAGIC, 'lz4', 'lz4'],
  ['BZh', undefined, 'bzip2'],
  ['\x5d\0\0', undefined, 'lzma'],
  ['\x89LZO', undefined, 'lzo'],
];

const HEADER_BYTES = 110;
const TRAILER = 'TRAILER!!!';

interface Found {
  readonly modules: Set<string>;
  builtIn?: Set<string>;
  members: number;
  archives: number;
}

/**
 * The modules in an initramfs: cpio archives one after the other, the first ones plain (microcode), the last one
 * compressed as a rule (Linux, driver-api/early-userspace/buffer-format). Throws ImageError for damage.
 */
export async function readInitramfs(source: ByteSource, budget: Budget): Promise<InitramfsContent> {
  const found: Found = { modules: new Set(), members: 0, archives: 0 };
  const reader = new ChunkReader(byteChunks(source, 0, budget.signal));
  try {
    const cutShort = await readArchives(reader, found, budget, false);
    return {
      modules: found.modules,
      ...(found.builtIn !== undefined && { builtIn: found.builtIn }),
      ...(cutShort !== undefined && { cutShort }),
    };
  } finally {
    await reader.close();
  }
}

async function readArchives(
  reader: ChunkReader,
  found: Found,
  budget: Budget,
  isUnpacked: boolean,
): Promise<string | undefined> {
  while (await reader.skipZeros()) {
    if (++found.archives > INITRAMFS_ARCHIVE_COUNT_MAX)
      throw tooMany('archives of an initramfs', INITRAMFS_ARCHIVE_COUNT_MAX);
    const magic = String.fromCharCode(...(await reader.peek(6)));
    if (magic === '070701' || magic === '070702') {
      await readCpio(reader, found, budget);
      continue;
    }
    const packed = compressions.find(([mark]) => magic.startsWith(mark));
    if (packed === undefined) return found.members > 0 ? undefined : 'it begins with nothing that is known';
    const [, name, title] = packed;
    if (name === undefined) return `it is compressed with ${title}, which is not read`;
    if (isUnpacked) return 'it is compressed twice';
    const inside = new ChunkReader(
      bounded(name === 'lz4' ? unpackLz4(reader) : unpackChunks(name, reader.rest()), budget),
    );
    try {
      return await readArchives(inside, found, budget, true);
    } finally {
      await inside.close();
    }
  }
  return undefined;
}

async function* bounded(
  chunks: AsyncIterable<Uint8Array>,
  budget: Budget,
): AsyncGenerator<Uint8Array, void, undefined> {
  let unpackedBytes = 0;
  for await (const bytes of chunks) {
    unpackedBytes += bytes.length;
    budget.look();
    if (unpackedBytes > INITRAMFS_UNPACKED_BYTES_MAX)
      throw tooMany('unpacked bytes of an initramfs', INITRAMFS_UNPACKED_BYTES_MAX);
    yield bytes;
  }
}

/** One archive up to its trailer: headers of hexadecimal digits, names, contents, each filled up to four bytes. */
async function readCpio(reader: ChunkReader, found: Found, budget: Budget): Promise<void> {
  for (;;) {
    budget.step();
    const header = await reader.take(HEADER_BYTES);
    if (header === undefined) throw malformed('cpio archive', 'it has no end');
    const text = String.fromCharCode(...header);
    if (!/^07070[12][0-9A-Fa-f]{104}$/.test(text)) throw malformed('cpio archive', 'a header is none');
    const field = (index: number) => Number.parseInt(text.slice(6 + index * 8, 14 + index * 8), 16);
    const sizeBytes = field(6);
    const nameBytes = field(11);
    if (nameBytes < 1 || nameBytes > PATH_BYTES_MAX)
      throw malformed('cpio archive', `a name of ${nameBytes} bytes`);
    const name = await reader.take(filled(HEADER_BYTES + nameBytes) - HEADER_BYTES);
    if (name === undefined) throw malformed('cpio archive', 'it ends in a name');
    const path = utf8Text(name.subarray(0, nameBytes));
    if (path === TRAILER) return;
    if (++found.members > INITRAMFS_MEMBER_COUNT_MAX)
      throw tooMany('members of an initramfs', INITRAMFS_MEMBER_COUNT_MAX);
    const module = moduleName(path);
    if (module !== undefined) found.modules.add(module);
    if (path.endsWith('/modules.builtin') && sizeBytes > 0 && sizeBytes <= LIST_BYTES_MAX) {
      const content = await reader.take(filled(sizeBytes));
      if (content === undefined) throw malformed('cpio archive', 'it ends in a file');
      found.builtIn = new Set([
        ...(found.builtIn ?? []),
        ...modulesOf(utf8Text(content.subarray(0, sizeBytes))),
      ]);
    } else if (!(await reader.skip(filled(sizeBytes)))) throw malformed('cpio archive', 'it ends in a file');
  }
}

function filled(lengthBytes: number): number {
  return Math.ceil(lengthBytes / 4) * 4;
}
