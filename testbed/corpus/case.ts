import type { ImageErrorCode } from '@gantry/disk';
import type { CorpusImage } from './image.ts';

/** How a case has to end: refused with one of these codes, or read as this disk; either, where both are given. */
export interface Expected {
  readonly codes?: readonly ImageErrorCode[];
  readonly reads?: CorpusImage;
  /** Part of a warning that has to be given when the disk is read. */
  readonly warning?: string;
}

/** One hostile or damaged image, and how it has to end. */
export interface HostileCase {
  readonly name: string;
  readonly image: CorpusImage;
  /** The format that the caller declares; found by its marks when absent. */
  readonly format?: string;
  readonly expected: Expected;
  /** Only who walks over the whole disk has to see what is wrong: ranges and bytes are read or refused. */
  readonly onlyWhole?: boolean;
  /** What is right when the file arrives front to back and that is not the same; IMAGE_NOT_SEQUENTIAL always is. */
  readonly forward?: Expected;
  /** Guest offsets at which the damage shows, for disks too large to be read byte by byte. */
  readonly at?: readonly number[];
  /** What the caller supplies for names inside the image. `itself` is the image once more. */
  readonly files?: Readonly<
    Record<string, { readonly image: CorpusImage | 'itself'; readonly format?: string }>
  >;
  readonly snapshot?: string;
  readonly member?: string;
}

export interface Family {
  readonly name: string;
  cases(): Iterable<HostileCase>;
}

export function refusedWith(...codes: readonly ImageErrorCode[]): Expected {
  return { codes };
}

export function readsAs(content: CorpusImage, warning?: string): Expected {
  return { reads: content, ...(warning !== undefined && { warning }) };
}

/** Refused with one of these codes; a reader that takes it all the same has to read this. */
export function refusedOrReads(content: CorpusImage, ...codes: readonly ImageErrorCode[]): Expected {
  return { codes, reads: content };
}

export const MALFORMED: Expected = refusedWith('IMAGE_MALFORMED');
export const TRUNCATED: Expected = refusedWith('IMAGE_TRUNCATED');
export const UNSUPPORTED: Expected = refusedWith('IMAGE_UNSUPPORTED');
export const LIMIT: Expected = refusedWith('IMAGE_LIMIT');
export const REFERENCE: Expected = refusedWith('IMAGE_REFERENCE');
export const AMBIGUOUS: Expected = refusedWith('IMAGE_AMBIGUOUS');
/** More work than the file explains: a reader may call it damage as well. */
export const AMPLIFIED: Expected = refusedWith('IMAGE_LIMIT', 'IMAGE_MALFORMED');
