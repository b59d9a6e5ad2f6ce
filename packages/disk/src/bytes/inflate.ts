// RFC 1951 without anything else, for places that have no codec of their own which stops where the data ends:
// a browser's DecompressionStream refuses the padding that images have behind every compressed cluster.

/** How far back a reference reaches at most. */
const WINDOW_BYTES = 32768;
const MAX_BITS = 15;
const END_OF_BLOCK = 256;

/** RFC 1951, 3.2.5: base and extra bits of the length codes 257 to 285, and of the distance codes. */
const LENGTH_BASE: readonly number[] = [
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
  227, 258,
];
const LENGTH_EXTRA: readonly number[] = [
  0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
];
const DISTANCE_BASE: readonly number[] = [
  1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097,
  6145, 8193, 12289, 16385, 24577,
];
const DISTANCE_EXTRA: readonly number[] = [
  0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
];
/** RFC 1951, 3.2.7: the order in which the lengths of the code length codes stand. */
const CODE_LENGTH_ORDER: readonly number[] = [
  16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

export interface Inflated {
  /** Of the output. */
  readonly writtenBytes: number;
  /** Of the input, to the byte that ends the data; all of it where the data goes on. */
  readonly usedBytes: number;
  /** False when the input ended before the data did. */
  readonly ended: boolean;
}

class DamagedDeflate extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'DamagedDeflate';
  }
}

/** Thrown where the input ends: no damage by itself. */
class InputEnded extends Error {}

/**
 * Decompresses raw deflate data into `target`, which it may not exceed. Stops at the end of the data, or of the
 * input where that comes first. `window` is what the stream gave before. Throws an Error for damaged data.
 */
export function inflateRaw(target: Uint8Array, input: Uint8Array, window?: Uint8Array): Inflated {
  return new Inflater(target, input, window).run();
}

/** RFC 1950 around it: two bytes of header, and the checksum behind, which is not looked at. */
export function inflateZlib(target: Uint8Array, input: Uint8Array): Inflated {
  const [method = 0, flags = 0] = input;
  const isHeader = input.length >= 2 && method % 16 === 8 && (method * 256 + flags) % 31 === 0;
  if (!isHeader || (flags & 0x20) !== 0) throw new DamagedDeflate('no zlib header');
  const inflated = inflateRaw(target, input.subarray(2));
  return { ...inflated, usedBytes: Math.min(input.length, 2 + inflated.usedBytes + 4) };
}

/** A canonical Huffman code: for every value of the next bits the symbol, times 16, plus the bits that it takes. */
interface Huffman {
  readonly table: Uint16Array;
  readonly bitCount: number;
}

function huffman(lengths: Uint8Array): Huffman {
  const counts = new Uint16Array(MAX_BITS + 1);
  for (const length of lengths) counts[length] = (counts[length] ?? 0) + 1;
  counts[0] = 0;
  const next = new Uint16Array(MAX_BITS + 2);
  let left = 1;
  let bitCount = 1;
  for (let bits = 1; bits <= MAX_BITS; bits++) {
    left = left * 2 - (counts[bits] ?? 0);
    if (left < 0) throw new DamagedDeflate('an over-subscribed code');
    next[bits + 1] = ((next[bits] ?? 0) + (counts[bits] ?? 0)) * 2;
    if (counts[bits] !== 0) bitCount = bits;
  }
  const table = new Uint16Array(2 ** bitCount);
  for (const [symbol, length] of lengths.entries()) {
    if (length === 0) continue;
    const code = next[length] ?? 0;
    next[length] = code + 1;
    // Codes come with their first bit lowest, whatever the bits above it are.
    const step = 2 ** length;
    for (let at = reversed(code, length); at < table.length; at += step) table[at] = symbol * 16 + length;
  }
  return { table, bitCount };
}

function reversed(code: number, length: number): number {
  let result = 0;
  for (let bit = 0; bit < length; bit++) result = result * 2 + ((code >> bit) & 1);
  return result;
}

let fixedCodes: { literals: Huffman; distances: Huffman } | undefined;

/** RFC 1951, 3.2.6. */
function fixed(): { literals: Huffman; distances: Huffman } {
  if (fixedCodes === undefined) {
    const lengths = new Uint8Array(288).fill(8);
    lengths.fill(9, 144, 256).fill(7, 256, 280);
    fixedCodes = { literals: huffman(lengths), distances: huffman(new Uint8Array(30).fill(5)) };
  }
  return fixedCodes;
}

class Inflater {
  readonly #target: Uint8Array;
  readonly #input: Uint8Array;
  readonly #window: Uint8Array;
  #out = 0;
  #in = 0;
  #bits = 0;
  #bitCount = 0;

  constructor(target: Uint8Array, input: Uint8Array, window: Uint8Array = new Uint8Array(0)) {
    this.#target = target;
    this.#input = input;
    this.#window = window;
  }

  run(): Inflated {
    try {
      for (let isLast = false; !isLast; ) {
        isLast = this.#take(1) === 1;
        this.#block(this.#take(2));
      }
      // Whole bytes that were looked at and not used belong to what follows.
      const usedBytes = this.#in - Math.floor(this.#bitCount / 8);
      return { writtenBytes: this.#out, usedBytes, ended: true };
    } catch (error) {
      if (!(error instanceof InputEnded)) throw error;
      return { writtenBytes: this.#out, usedBytes: this.#input.length, ended: false };
    }
  }

  #take(count: number): number {
    while (this.#bitCount < count) {
      const byte = this.#input[this.#in];
      if (byte === undefined) throw new InputEnded();
      this.#in++;
      this.#bits |= byte << this.#bitCount;
      this.#bitCount += 8;
    }
    const value = this.#bits & ((1 << count) - 1);
    this.#bits >>>= count;
    this.#bitCount -= count;
    return value;
  }

  #block(type: number): void {
    if (type === 0) this.#stored();
    else if (type === 1) this.#compressed(fixed().literals, fixed().distances);
    else if (type === 2) this.#dynamic();
    else throw new DamagedDeflate('a block of an unknown type');
  }

  #stored(): void {
    this.#in -= Math.floor(this.#bitCount / 8);
    this.#bits = 0;
    this.#bitCount = 0;
    const length = this.#take(16);
    if (this.#take(16) !== 0xffff - length) throw new DamagedDeflate('a stored block with a wrong length');
    const bytes = this.#input.subarray(this.#in, this.#in + length);
    if (this.#out + bytes.length > this.#target.length)
      throw new DamagedDeflate('more output than is asked for');
    this.#target.set(bytes, this.#out);
    this.#out += bytes.length;
    this.#in += bytes.length;
    if (bytes.length < length) throw new InputEnded();
  }

  #dynamic(): void {
    const literalCount = this.#take(5) + 257;
    const distanceCount = this.#take(5) + 1;
    const codeLengthCount = this.#take(4) + 4;
    if (literalCount > 286 || distanceCount > 30) throw new DamagedDeflate('too many codes');
    const codeLengths = new Uint8Array(19);
    for (let i = 0; i < codeLengthCount; i++) codeLengths[CODE_LENGTH_ORDER[i] ?? 0] = this.#take(3);
    const lengths = this.#lengths(huffman(codeLengths), literalCount + distanceCount);
    if (lengths[END_OF_BLOCK] === 0) throw new DamagedDeflate('a block without an end');
    this.#compressed(huffman(lengths.subarray(0, literalCount)), huffman(lengths.subarray(literalCount)));
  }

  /** RFC 1951, 3.2.7: run lengths of code lengths. */
  #lengths(code: Huffman, count: number): Uint8Array {
    const lengths = new Uint8Array(count);
    for (let at = 0; at < count; ) {
      const symbol = this.#symbol(code);
      if (symbol < 16) {
        lengths[at++] = symbol;
        continue;
      }
      const previous = symbol === 16 ? lengths[at - 1] : 0;
      if (previous === undefined) throw new DamagedDeflate('a repetition of nothing');
      const times =
        symbol === 16 ? 3 + this.#take(2) : symbol === 17 ? 3 + this.#take(3) : 11 + this.#take(7);
      if (at + times > count) throw new DamagedDeflate('too many code lengths');
      lengths.fill(previous, at, at + times);
      at += times;
    }
    return lengths;
  }

  #symbol({ table, bitCount }: Huffman): number {
    while (this.#bitCount < bitCount && this.#in < this.#input.length) {
      this.#bits |= (this.#input[this.#in++] ?? 0) << this.#bitCount;
      this.#bitCount += 8;
    }
    const entry = table[this.#bits & (table.length - 1)] ?? 0;
    const length = entry & 15;
    if (length > this.#bitCount || (length === 0 && this.#bitCount < bitCount)) throw new InputEnded();
    if (length === 0) throw new DamagedDeflate('a code that does not exist');
    this.#bits >>>= length;
    this.#bitCount -= length;
    return entry >> 4;
  }

  #compressed(literals: Huffman, distances: Huffman): void {
    for (;;) {
      const symbol = this.#symbol(literals);
      if (symbol === END_OF_BLOCK) return;
      if (symbol < END_OF_BLOCK) {
        if (this.#out === this.#target.length) throw new DamagedDeflate('more output than is asked for');
        this.#target[this.#out++] = symbol;
        continue;
      }
      const base = LENGTH_BASE[symbol - 257];
      if (base === undefined) throw new DamagedDeflate('a length that does not exist');
      const length = base + this.#take(LENGTH_EXTRA[symbol - 257] ?? 0);
      const distanceSymbol = this.#symbol(distances);
      const distanceBase = DISTANCE_BASE[distanceSymbol];
      if (distanceBase === undefined) throw new DamagedDeflate('a distance that does not exist');
      this.#copy(length, distanceBase + this.#take(DISTANCE_EXTRA[distanceSymbol] ?? 0));
    }
  }

  #copy(length: number, distance: number): void {
    const target = this.#target;
    const end = this.#out + length;
    const reach = this.#out + Math.min(this.#window.length, WINDOW_BYTES);
    if (distance > reach) throw new DamagedDeflate('a reference to before the data');
    if (end > target.length) throw new DamagedDeflate('more output than is asked for');
    for (let at = this.#out; at < end; at++) {
      const from = at - distance;
      target[at] = (from >= 0 ? target[from] : this.#window[this.#window.length + from]) ?? 0;
    }
    this.#out = end;
  }
}
