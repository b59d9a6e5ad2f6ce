import { MIB } from '../../bytes/numbers.ts';

/** Descriptors of large appliances have tens of KiB; the same cap as for VMDK descriptors. */
export const OVF_BYTES_MAX: number = MIB;

/** The schema of OVF nests eight deep, extensions of vendors a few more. */
export const XML_DEPTH_MAX = 64;

/** A descriptor of 1 MiB could hold 200 000 empty elements; real ones have hundreds. */
export const XML_ELEMENT_COUNT_MAX = 20_000;

/** An element of OVF has about five. */
export const XML_ATTRIBUTE_COUNT_MAX = 64;
