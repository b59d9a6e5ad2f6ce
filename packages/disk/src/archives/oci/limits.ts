import { MIB } from '../../bytes/numbers.ts';

/** Exports of OCI have some KiB; image_metadata.json with the compatibility of every shape there is, below 100. */
export const METADATA_BYTES_MAX: number = MIB;

/** The document nests four deep, the JSON inside its `imageCapabilityData` five. */
export const METADATA_DEPTH_MAX = 32;

/** A value that stands in every launch option: what is longer is no such word. */
export const WORD_LENGTH_MAX = 256;
