/** What can be wrong with an image. Closed set; each code has a page under docs/errors. */
export const imageErrorCodes = [
  'IMAGE_MALFORMED',
  'IMAGE_TRUNCATED',
  'IMAGE_UNSUPPORTED',
  'IMAGE_LIMIT',
  'IMAGE_REFERENCE',
  'IMAGE_AMBIGUOUS',
  'IMAGE_OPTION',
  'IMAGE_NOT_SEQUENTIAL',
] as const;
export type ImageErrorCode = (typeof imageErrorCodes)[number];

/** What can be wrong with the place that bytes come from or go to. Closed set, as above. */
export const storeErrorCodes = [
  'STORE_NOT_FOUND',
  'STORE_EXISTS',
  'STORE_DENIED',
  'STORE_FULL',
  'STORE_IO',
  'STORE_UNREACHABLE',
  'STORE_REFUSED',
  'STORE_CHANGED',
  'STORE_CORRUPT',
] as const;
export type StoreErrorCode = (typeof storeErrorCodes)[number];

export interface ImageErrorPlace {
  /** The structure as its specification names it: `qcow2 L1 table`, `VHD footer`. */
  readonly structure: string;
  /** Where in the image file, in bytes, when one place is to blame. */
  readonly offsetBytes?: number | undefined;
  /** What the user can do; a code of a reader has a usual one. */
  readonly hint?: string | undefined;
}

/** What the user can do about an image that a reader refuses, where nothing more special is known. */
const usualHints: Partial<Record<ImageErrorCode, string>> = {
  IMAGE_MALFORMED: 'the file is damaged: copy or download it again',
  IMAGE_TRUNCATED: 'the file is incomplete: copy or download it again',
  IMAGE_UNSUPPORTED: 'copy it to a plain image first, with the program that made it',
  IMAGE_LIMIT: 'no program makes such an image: the file is damaged, or was made to do harm',
};

/** The image's own bytes (or what was asked of a format) are refused. */
export class ImageError extends Error {
  readonly code: ImageErrorCode;
  readonly structure: string;
  readonly offsetBytes: number | undefined;
  readonly hint: string | undefined;

  constructor(code: ImageErrorCode, message: string, place: ImageErrorPlace) {
    super(message);
    this.name = 'ImageError';
    this.code = code;
    this.structure = place.structure;
    this.offsetBytes = place.offsetBytes;
    this.hint = place.hint ?? usualHints[code];
  }
}

/** A file, a disk or the network failed or refused. */
export class StoreError extends Error {
  readonly code: StoreErrorCode;
  /** The file, address or object that failed. */
  readonly where: string;
  readonly hint: string | undefined;

  constructor(
    code: StoreErrorCode,
    message: string,
    place: { where: string; hint?: string | undefined; cause?: unknown },
  ) {
    super(message, place.cause === undefined ? undefined : { cause: place.cause });
    this.name = 'StoreError';
    this.code = code;
    this.where = place.where;
    this.hint = place.hint;
  }
}

/** An assertion about our own code: it never speaks about input. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`invariant broken: ${message}`);
}
