import { viewOf } from './fields.ts';

// Deflate and zstd gain from two things only: bytes that are not equally frequent, and sequences that come again.
// Both are looked for all over the data, since half a KiB of text or zeros among noise is worth finding.

/** Shorter data is compressed as soon as it is looked at. */
const LEAST_BYTES = 4096;

/** Of every 256 bytes 32 are looked at: half a KiB always holds such a window. */
const WINDOW_STRIDE = 256;
const WINDOW_BYTES = 32;
/**
 * Places that are looked at move through what they stand for in so many steps, a number with no factor in common
 * with the sizes of structures on disks: what comes again every 4 KiB does not hide between them.
 */
const PHASES = 7;
/** Pairs of equal bytes in a window: noise has 2 and never as many as 12, text has 30, a run of 6 zeros 15. */
const PAIRS_BOUND = 12;
/** One island's window in so many is about what compression may save without being worth its time. */
const WINDOWS_AN_ISLAND = 128;

/**
 * Bound of Pearson's chi-squared statistic against equal frequency of all 256 values, over its 255 degrees of
 * freedom and for each sample: what Huffman coding could save half a per cent of. Noise has 0 +- 0.003,
 * JPEG up to 0.03, deflate and zstd up to 0.02.
 */
const SKEW_BOUND = 0.05;

/** Sequences are remembered at these positions, and looked up at as many in a row: one of those meets a repetition. */
const REMEMBERED_STRIDE = 16;
const LOOKUP_STRIDE = 512;
const LOOKUP_STEP = 64;
const MEMORY_BITS = 14;

const windowCounts = new Uint8Array(256);
const counts = new Uint32Array(256);
/** Where a sequence with this hash was seen last. */
const lastSeen = new Uint32Array(2 ** MEMORY_BITS);

/**
 * True when compression would save about one per cent at most, as of random, encrypted or compressed data: then
 * it is not worth its time. False when in doubt. It ends early for data that compresses.
 */
export function looksIncompressible(bytes: Uint8Array): boolean {
  return bytes.length >= LEAST_BYTES && isEvenEverywhere(bytes) && !repeats(bytes);
}

function isEvenEverywhere(bytes: Uint8Array): boolean {
  const windowCount = Math.floor(bytes.length / WINDOW_STRIDE);
  const islandsAllowed = windowCount / WINDOWS_AN_ISLAND;
  let islands = 0;
  counts.fill(0);
  for (let i = 0; i < windowCount; i++) {
    const start = i * WINDOW_STRIDE + (i % PHASES) * WINDOW_BYTES;
    if (equalPairs(bytes, start) >= PAIRS_BOUND && ++islands >= islandsAllowed) return false;
  }
  return skew(windowCount * WINDOW_BYTES) <= SKEW_BOUND;
}

/** Counts the bytes of a window, also into the counts of all. */
function equalPairs(bytes: Uint8Array, start: number): number {
  const end = start + WINDOW_BYTES;
  let pairs = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    const before = windowCounts[byte] as number;
    pairs += before;
    windowCounts[byte] = before + 1;
  }
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    windowCounts[byte] = 0;
    counts[byte] = (counts[byte] as number) + 1;
  }
  return pairs;
}

function skew(total: number): number {
  let squares = 0;
  for (const count of counts) squares += count ** 2;
  const chiSquared = (squares * 256) / total - total;
  return (chiSquared - 255) / total;
}

/** True when four bytes come again in a way that a repetition of a KiB hardly avoids. */
function repeats(bytes: Uint8Array): boolean {
  const view = viewOf(bytes);
  // What an earlier call left would show in the verdict now and then.
  lastSeen.fill(0);
  for (let start = 0; start + LOOKUP_STRIDE <= bytes.length; start += LOOKUP_STRIDE) {
    const first = start + ((start / LOOKUP_STRIDE) % PHASES) * LOOKUP_STEP;
    for (let at = first; at < first + REMEMBERED_STRIDE; at++) {
      const sequence = view.getUint32(at);
      const seen = lastSeen[memoryOf(sequence)] as number;
      if (seen < at && view.getUint32(seen) === sequence) return true;
    }
    for (let at = start; at < start + LOOKUP_STRIDE; at += REMEMBERED_STRIDE)
      lastSeen[memoryOf(view.getUint32(at))] = at;
  }
  return false;
}

/** The high bits of a product with 2^32 divided by the golden ratio. */
function memoryOf(sequence: number): number {
  return Math.imul(sequence, 0x9e3779b1) >>> (32 - MEMORY_BITS);
}
