import { hasMagic, viewOf } from '../bytes/fields.ts';
import { delegatedDisk } from '../disk/delegated-disk.ts';
import type { Disk } from '../disk/disk.ts';
import { ImageError } from '../errors.ts';
import type { CheckReport, Format, OpenOptions, ProbeBytes } from '../formats/format.ts';
import type { ByteSource } from '../io/byte-source.ts';
import type { WrapperKind } from './unpack.ts';
import type { UnpackedSource } from './unpacked-source.ts';

/** A file format that holds one compressed file: an image, or an archive with one. */
export interface Wrapper extends Format {
  readonly name: WrapperKind;
  /** Unpacks the file. Close what it gives before the source. */
  unpack(source: ByteSource, signal?: AbortSignal): Promise<UnpackedSource>;
  /** The wrapper around a format that is declared, such as `raw.gz`: it is not looked for then. */
  around(inner: Format): Format;
}

const GZIP_MAGIC = '\x1f\x8b\x08';
const ZSTD_MAGIC = '\x28\xb5\x2f\xfd';
const XZ_MAGIC = '\xfd7zXZ\0';

/** gzip (RFC 1952) of any number of members, Zstandard (RFC 8878) of any number of frames, xz (1.0.4) of streams. */
export const wrappers: readonly Wrapper[] = [
  wrapper('gzip', 'gzip', ['gz', 'tgz'], ({ head }) => hasMagic(head, GZIP_MAGIC)),
  wrapper('zstd', 'Zstandard', ['zst'], ({ head }) => hasMagic(head, ZSTD_MAGIC, skippedBytes(head))),
  wrapper('xz', 'xz', ['xz'], ({ head }) => hasMagic(head, XZ_MAGIC)),
];

/** `pzstd` begins with a frame that is skipped, and that says how long the next one is. */
function skippedBytes(head: Uint8Array): number {
  const isSkippable = head.length >= 8 && hasMagic(head, '\x2a\x4d\x18', 1) && (head[0] as number) >> 4 === 5;
  return isSkippable ? 8 + viewOf(head).getUint32(4, true) : 0;
}

function wrapper(
  name: WrapperKind,
  title: string,
  extensions: readonly [string, ...string[]],
  recognise: (probe: ProbeBytes) => boolean,
): Wrapper {
  const unpackThis = async (source: ByteSource, signal?: AbortSignal) =>
    (await import('./unpack.ts')).unpack(source, name, signal);
  const reading = (declared: Format | undefined) => ({
    selectors: ['snapshot', 'member'] as const,
    open: async (source: ByteSource, options: OpenOptions) =>
      openInside(await unpackThis(source, options.signal), name, declared, options),
    check: async (source: ByteSource, options: OpenOptions) =>
      checkInside(await unpackThis(source, options.signal), declared, options),
  });
  return {
    name,
    title,
    extensions,
    recognise,
    ...reading(undefined),
    unpack: unpackThis,
    around: (inner) => ({
      name: `${inner.name}.${extensions[0]}`,
      title: `${inner.title} in ${title}`,
      extensions: [],
      recognise: () => false,
      ...reading(inner),
    }),
  };
}

async function openInside(
  unpacked: UnpackedSource,
  name: WrapperKind,
  declared: Format | undefined,
  options: OpenOptions,
): Promise<Disk> {
  try {
    // The registry lists the wrappers: imported when needed, so that neither waits for the other.
    const { openDisk } = await import('../formats/open.ts');
    const format = declared ?? (await formatInside(unpacked, options));
    const inner = await openDisk(unpacked, { ...options, format: format?.name });
    return unpackedDisk(inner, unpacked, name);
  } catch (error) {
    await unpacked.close();
    throw error;
  }
}

async function checkInside(
  unpacked: UnpackedSource,
  declared: Format | undefined,
  options: OpenOptions,
): Promise<CheckReport> {
  try {
    const format = declared ?? (await formatInside(unpacked, options));
    if (format?.check === undefined) {
      throw new ImageError('IMAGE_UNSUPPORTED', `${format?.title ?? 'this'} has no structures to check`, {
        structure: 'compressed file',
        hint: 'if it is an image of another format, declare that',
      });
    }
    const report = await format.check(unpacked, options);
    await unpacked.drain(options.signal);
    return report;
  } finally {
    await unpacked.close();
  }
}

/**
 * The format of what was unpacked, found by its mark; undefined where that is left to who opens what is spooled.
 * What is compressed twice is refused.
 */
async function formatInside(
  unpacked: UnpackedSource,
  { signal, spool }: OpenOptions,
): Promise<Format | undefined> {
  const { probeFormat } = await import('../formats/probe.ts');
  const format = await probeFormat(unpacked, signal).catch((error) => {
    if (spool !== undefined && error instanceof ImageError && error.code === 'IMAGE_NOT_SEQUENTIAL')
      return undefined;
    throw error;
  });
  if (!wrappers.some(({ name }) => name === format?.name)) return format;
  throw new ImageError('IMAGE_UNSUPPORTED', `${unpacked.name} is compressed twice`, {
    structure: `${format?.title} inside a compressed file`,
    hint: 'decompress it once, and use what comes out',
  });
}

/** The disk inside, which ends with what it was unpacked from. */
function unpackedDisk(inner: Disk, unpacked: UnpackedSource, name: WrapperKind): Disk {
  return delegatedDisk(inner, {
    get details() {
      return { ...inner.details, wrapper: name };
    },
    async drain(signal) {
      await inner.drain?.(signal);
      await unpacked.drain(signal);
    },
    async close() {
      await inner.close();
      await unpacked.close();
    },
  });
}
