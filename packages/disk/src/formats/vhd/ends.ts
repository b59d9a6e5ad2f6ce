import { bytesEqual, hasMagic } from '../../bytes/fields.ts';
import { MIB } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import {
  FOOTER_BYTES,
  FOOTER_COOKIE,
  FOOTER_STRUCTURE,
  isValidFooter,
  parseFooter,
  type VhdFooter,
} from './footer.ts';

/** Virtual PC before 2004 wrote footers of 511 bytes: the last reserved byte is missing. */
const OLD_FOOTER_BYTES = 511;

/** An arriving source can be read this far behind what has arrived (io/forward.ts). */
const STEP_BYTES: number = 8 * MIB;

/** How one of the two footers of a file was found; the end of a file that is still arriving is unread. */
type FooterState = 'valid' | 'damaged' | 'missing' | 'unread';

/** The footer that counts, and how both places that can hold one look. */
export interface VhdEnds {
  readonly footer: VhdFooter;
  /** Its 512 bytes. */
  readonly footerBytes: Uint8Array;
  /** Where the footer at the end begins; the file's length when there is none. */
  readonly dataEndBytes: number;
  readonly endState: FooterState;
  /** Of the copy at byte 0, that dynamic disks have. */
  readonly copyState: FooterState;
  /** True when a dynamic disk has two valid footers that are not the same. */
  readonly copyDiffers: boolean;
}

/**
 * The footer of a dynamic disk that is still arriving, from its copy at the start; undefined for a fixed disk,
 * which has none. Throws IMAGE_NOT_SEQUENTIAL when the copy is damaged: only the end could tell then.
 */
export async function readArrivingEnds(
  source: ByteSource,
  signal?: AbortSignal,
): Promise<VhdEnds | undefined> {
  const head = await readStructure(source, 0, FOOTER_BYTES, FOOTER_STRUCTURE, signal);
  if (!hasMagic(head, FOOTER_COOKIE)) return undefined;
  if (!isValidFooter(head)) {
    throw new ImageError('IMAGE_NOT_SEQUENTIAL', 'the copy of the VHD footer at the start is damaged', {
      structure: FOOTER_STRUCTURE,
      offsetBytes: 0,
      hint: 'store the file first: its footer is at the end',
    });
  }
  const footer = parseFooter(head, 0);
  // Byte 0 of a fixed disk is the guest's.
  if (footer.diskType === 'fixed') return undefined;
  return {
    footer,
    footerBytes: head,
    dataEndBytes: source.lengthBytes,
    endState: 'unread',
    copyState: 'valid',
    copyDiffers: false,
  };
}

/**
 * Reads the end of a file that has arrived up to `fromBytes` and compares it with the footer that was taken from its start. Throws
 * IMAGE_MALFORMED when another reader would see another disk.
 */
export async function readArrivedEnd(
  source: ByteSource,
  footer: VhdFooter,
  fromBytes: number,
  signal?: AbortSignal,
): Promise<VhdEnds> {
  // Whatever else stands before the end arrives first.
  if (source.drain !== undefined) await source.drain(signal);
  else {
    for (let at = fromBytes; at < source.lengthBytes; at += STEP_BYTES)
      await source.read(at, new Uint8Array(1), signal);
  }
  const ends = await readEnds(source, signal);
  const isSame = (field: keyof VhdFooter) => ends.footer[field] === footer[field];
  if (isSame('diskType') && isSame('currentSizeBytes') && isSame('dataOffsetBytes') && isSame('uniqueId'))
    return ends;
  throw new ImageError('IMAGE_MALFORMED', 'the VHD footer is about another disk than its copy at the start', {
    structure: FOOTER_STRUCTURE,
    offsetBytes: ends.dataEndBytes,
  });
}

/**
 * Finds the footer: the last 512 (or 511) bytes of the file, and when they are missing or damaged the copy
 * that dynamic disks have at byte 0. Throws IMAGE_MALFORMED when neither is valid.
 */
export async function readEnds(source: ByteSource, signal?: AbortSignal): Promise<VhdEnds> {
  const tailBytes = Math.min(FOOTER_BYTES, source.lengthBytes);
  const tail = await readStructure(
    source,
    source.lengthBytes - tailBytes,
    tailBytes,
    FOOTER_STRUCTURE,
    signal,
  );
  const head = await readStructure(source, 0, tailBytes, FOOTER_STRUCTURE, signal);
  const end = findEndFooter(tail);
  const dataEndBytes = source.lengthBytes - (end?.lengthBytes ?? 0);
  const endState = stateOf(end?.bytes);
  const copyState = stateOf(hasMagic(head, FOOTER_COOKIE) ? head : undefined);
  if (end !== undefined && endState === 'valid') {
    const footer = parseFooter(end.bytes, dataEndBytes);
    const copyDiffers = footer.diskType !== 'fixed' && copyState === 'valid' && !bytesEqual(end.bytes, head);
    return { footer, footerBytes: end.bytes, dataEndBytes, endState, copyState, copyDiffers };
  }
  const copy = copyState === 'valid' ? parseFooter(head, 0) : undefined;
  // Byte 0 of a fixed disk is the guest's.
  if (copy === undefined || copy.diskType === 'fixed') throw noFooter(endState, copyState, dataEndBytes);
  return { footer: copy, footerBytes: head, dataEndBytes, endState, copyState, copyDiffers: false };
}

function findEndFooter(tail: Uint8Array): { bytes: Uint8Array; lengthBytes: number } | undefined {
  for (const lengthBytes of [FOOTER_BYTES, OLD_FOOTER_BYTES]) {
    const at = tail.length - lengthBytes;
    if (!hasMagic(tail, FOOTER_COOKIE, at)) continue;
    const bytes = new Uint8Array(FOOTER_BYTES);
    bytes.set(tail.subarray(at));
    return { bytes, lengthBytes };
  }
  return undefined;
}

function stateOf(bytes: Uint8Array | undefined): FooterState {
  if (bytes === undefined) return 'missing';
  return bytes.length === FOOTER_BYTES && isValidFooter(bytes) ? 'valid' : 'damaged';
}

function noFooter(end: FooterState, copy: FooterState, dataEndBytes: number): ImageError {
  if (end === 'damaged' || copy === 'damaged') {
    return new ImageError('IMAGE_MALFORMED', 'the checksum of the VHD footer is wrong', {
      structure: FOOTER_STRUCTURE,
      offsetBytes: end === 'damaged' ? dataEndBytes : 0,
    });
  }
  return new ImageError(
    'IMAGE_MALFORMED',
    'this is not a VHD file, or its end is missing: there is no footer',
    {
      structure: FOOTER_STRUCTURE,
      offsetBytes: dataEndBytes,
      hint: 'copy or download the file again; if it is the bare disk, declare it as raw',
    },
  );
}

/** What is odd about the footers of a file that can be read all the same. */
export function endsWarnings(ends: VhdEnds): string[] {
  const warnings: string[] = [];
  if (ends.endState === 'damaged' || ends.endState === 'missing') {
    const state = ends.endState;
    warnings.push(`the footer at the end of the file is ${state}; its copy at the start was taken instead`);
  }
  if (ends.footer.diskType !== 'fixed' && ends.copyState !== 'valid') {
    warnings.push(`the copy of the footer at the start of the file is ${ends.copyState}`);
  }
  if (ends.copyDiffers) {
    warnings.push('the footer and its copy at the start of the file differ; the footer was taken');
  }
  return warnings;
}
