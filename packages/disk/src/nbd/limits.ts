import { KIB, MIB } from '../bytes/numbers.ts';

/** "MUST be no longer than 4096 bytes" (protocol, "Conventions"). */
export const STRING_BYTES_MAX: number = 4 * KIB;
/** Data of one option; nbdkit takes 64 KiB too (MAX_OPTION_LENGTH of its server). */
export const OPTION_BYTES_MAX: number = 64 * KIB;
/** Options of one negotiation; clients need fewer than ten. */
export const OPTION_COUNT_MAX = 256;
/** The usual limit of a request's data ("Block size constraints"), and qemu's NBD_MAX_BUFFER_SIZE. */
export const PAYLOAD_BYTES_MAX: number = 32 * MIB;
/** Requests of one connection whose answers are not yet taken by the system. */
export const REQUEST_COUNT_MAX = 128;
/** Memory for the data of the requests of one connection; one of the greatest must fit. */
export const CONNECTION_BYTES_MAX: number = 32 * MIB;
/** Connections at a time, so that the memory of all has a limit too. nbdcopy makes four. */
export const CONNECTION_COUNT_MAX = 16;
/** What one read is sent in when its answer may have several chunks. */
export const READ_PIECE_BYTES: number = 2 * MIB;
/** A shorter hole is sent as zeros: a chunk of its own costs more than it saves. */
export const HOLE_BYTES_MIN: number = 4 * KIB;
/** Descriptors of one answer to BLOCK_STATUS. The protocol lets the client ask for the rest. */
export const DESCRIPTOR_COUNT_MAX: number = 8 * KIB;
/** Descriptors that are taken of one answer: qemu's NBD_MAX_BLOCK_STATUS_EXTENTS. */
export const DESCRIPTOR_COUNT_TAKEN: number = 128 * KIB;
/** The length field of a request has 32 bits; whole MiB keep to every minimum block size. */
export const STATUS_BYTES_MAX: number = 2048 * MIB;
/** A minimum block is at most 64 KiB ("Block size constraints"). */
export const MINIMUM_BLOCK_BYTES_MAX: number = 64 * KIB;
