/** An image that was read, and qemu-img reads as something else. */
export interface Difference {
  readonly format: string;
  readonly bytes: Uint8Array;
  /** What we see of it. */
  readonly sizeBytes: number;
  readonly warnings: readonly string[];
}

/**
 * Why qemu-img may read another disk than we do, where it is known to be careless (or nobody is right); undefined
 * for a difference that nobody has explained.
 */
export function explanation(difference: Difference): string | undefined {
  return reasons.find(({ applies }) => applies(difference))?.reason;
}

interface Reason {
  readonly reason: string;
  readonly applies: (difference: Difference) => boolean;
}

const reasons: readonly Reason[] = [
  {
    reason: 'it counts in sectors, and leaves the end of another size away',
    applies: ({ sizeBytes }) => sizeBytes % 512 !== 0,
  },
  {
    reason: 'it does not look at the sector bitmaps of a VHD',
    applies: ({ format, warnings }) => format === 'vhd' && warnings.some((text) => text.includes('bitmap')),
  },
  {
    reason: 'it takes the footer copy of a VHD where the footer says something else',
    applies: ({ format, warnings }) => format === 'vhd' && warnings.some((text) => text.includes('differ')),
  },
  {
    reason: 'it believes the header of a dynamic VHD that stands in the first sector of a fixed one',
    applies: ({ format, bytes }) =>
      format === 'vhd' &&
      startsWith(bytes, 0, 'conectix') &&
      startsWith(bytes, bytes.length - 512, 'conectix') &&
      viewOf(bytes).getUint32(bytes.length - 512 + 60) === 2,
  },
  {
    reason: 'releases of zstd make different bytes of a damaged frame without a checksum (1.5.4 and 1.5.7)',
    applies: ({ format, bytes }) => format === 'qcow2' && bytes[104] === 1,
  },
  {
    reason: 'it does not know the extra bytes in front of the blocks of a VDI',
    applies: ({ format, bytes }) => format === 'vdi' && viewOf(bytes).getUint32(380, true) > 0,
  },
];

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function startsWith(bytes: Uint8Array, at: number, text: string): boolean {
  return at >= 0 && Buffer.from(bytes.subarray(at, at + text.length)).toString('latin1') === text;
}
