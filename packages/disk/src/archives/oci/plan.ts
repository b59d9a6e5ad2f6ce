import { utf8Bytes } from '../../bytes/fields.ts';
import { roundUp } from '../../bytes/numbers.ts';
import type { ProgressListener } from '../../convert/progress.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError, invariant } from '../../errors.ts';
import type { FormatOption, WriteRequest } from '../../formats/format.ts';
import { chosenValue } from '../../formats/options.ts';
import { qcow2 } from '../../formats/qcow2/format.ts';
import type { BlockPlacement } from '../../view/block-placement.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import type { Layout } from '../../view/layout.ts';
import { bytesRegion } from '../../view/regions.ts';
import { METADATA_NAME } from '../kind.ts';
import { encodeTarHeader, TAR_BLOCK_BYTES } from '../tar/header.ts';
import { MODIFIED_AT_SECONDS, tarLayout } from '../tar/layout.ts';
import { tarStream } from '../tar/stream.ts';
import { type OciDocument, ociDocumentWarnings, parseOciDocument } from './document.ts';
import { WORD_LENGTH_MAX } from './limits.ts';
import { encodeOciDocument } from './new-document.ts';
import { FIRMWARE, LAUNCH_MODE, METADATA, OS, OS_VERSION } from './write-options.ts';

/** As OCI's own exports call it. */
const DISK_NAME = 'output.QCOW2';

/** The archive around a qcow2 file: of exact length, or a stream when that is compressed. */
export async function planOci(disk: Disk, request: WriteRequest): Promise<Layout | ImageStream> {
  const metadata = metadataOf(request);
  const image = await qcow2.plan?.(disk, imageRequest(request));
  invariant(image !== undefined && image.kind !== 'files', 'qcow2 is written as one file');
  if (image.kind === 'layout') return archiveOf(metadata, image);
  const headBytes = imageOffset(metadata);
  return tarStream('oci', image, {
    headBytes,
    head(imageBytes) {
      const head = new Uint8Array(headBytes);
      head.set(encodeTarHeader(METADATA_NAME, metadata.length, MODIFIED_AT_SECONDS));
      head.set(metadata, TAR_BLOCK_BYTES);
      head.set(encodeTarHeader(DISK_NAME, imageBytes, MODIFIED_AT_SECONDS), headBytes - TAR_BLOCK_BYTES);
      return head;
    },
  });
}

/**
 * The archive around a qcow2 file of clusters that are compressed already. Unlike in one whose clusters are
 * compressed for it, the window of deflate is what they have.
 */
export async function planStoredOci(
  disk: Disk,
  request: WriteRequest,
  onProgress?: ProgressListener,
): Promise<Layout | undefined> {
  const metadata = metadataOf(request);
  const image = await qcow2.planStored?.(disk, { ...imageRequest(request), options: {} }, onProgress);
  return image && archiveOf(metadata, image);
}

function archiveOf(metadata: Uint8Array, image: Layout): Layout {
  return tarLayout('oci', [
    { name: METADATA_NAME, content: bytesRegion(metadata) },
    { name: DISK_NAME, content: image },
  ]);
}

/** That of the qcow2 file, as far in as the archive holds it. */
export async function ociPlacement(
  virtualSizeBytes: number,
  request: WriteRequest,
): Promise<BlockPlacement | undefined> {
  const startBytes = imageOffset(metadataOf(request));
  const image = await qcow2.placement?.(virtualSizeBytes, imageRequest(request));
  return image && { ...image, startBytes: image.startBytes + startBytes };
}

/** Where the image begins: behind the document, with a header before each. */
function imageOffset(metadata: Uint8Array): number {
  return 2 * TAR_BLOCK_BYTES + roundUp(metadata.length, TAR_BLOCK_BYTES);
}

/** qcow2 as VirtualBox and OCI take it: nothing optional, and the window of deflate that qemu itself writes. */
function imageRequest({ compression, seed, baseName, signal }: WriteRequest): WriteRequest {
  const options = compression === 'zlib' ? { deflate_window: '12' } : {};
  return { options, compression, seed, baseName, signal };
}

function metadataOf(request: WriteRequest): Uint8Array {
  const text = request.options[METADATA.name];
  if (text !== undefined) return givenMetadata(text, request);
  return encodeOciDocument({
    firmware: chosenValue(request, FIRMWARE),
    launchMode: chosenValue(request, LAUNCH_MODE),
    operatingSystem: wordOf(request, OS),
    operatingSystemVersion: wordOf(request, OS_VERSION),
  });
}

/** The document that the caller has, as it is. */
function givenMetadata(text: string, { options }: WriteRequest): Uint8Array {
  const said = [FIRMWARE, LAUNCH_MODE, OS, OS_VERSION].find(({ name }) => options[name] !== undefined);
  if (said !== undefined) {
    throw new ImageError('IMAGE_OPTION', `${said.name} and metadata cannot be given together`, {
      structure: `option ${said.name}`,
      hint: `the metadata already says it: leave ${said.name} away`,
    });
  }
  const bytes = utf8Bytes(text);
  const warnings = ociDocumentWarnings(documentIn(bytes));
  if (warnings.length === 0) return bytes;
  throw refusedMetadata(warnings.join('; '));
}

function documentIn(bytes: Uint8Array): OciDocument {
  try {
    return parseOciDocument(bytes);
  } catch (error) {
    throw error instanceof ImageError ? refusedMetadata(error.message) : error;
  }
}

function refusedMetadata(why: string): ImageError {
  return new ImageError('IMAGE_OPTION', `the metadata cannot be written: ${why}`, {
    structure: `option ${METADATA.name}`,
    hint: 'give the whole image_metadata.json as OCI writes it, version 2',
  });
}

function wordOf(request: WriteRequest, option: FormatOption): string {
  const value = request.options[option.name] ?? 'Custom';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (value !== '' && value.length <= WORD_LENGTH_MAX && !/[\u0000-\u001f\u007f]/.test(value)) return value;
  throw new ImageError('IMAGE_OPTION', `${option.name} cannot be ${JSON.stringify(value.slice(0, 80))}`, {
    structure: `option ${option.name}`,
    hint: `write up to ${WORD_LENGTH_MAX} characters, such as "Oracle Linux"`,
  });
}
