/** Everything of a decoder that a chunk leaves to the next one. Names as in the LZMA specification (7-zip 21.01). */
export interface LzmaState {
  readonly probs: Uint16Array;
  lc: number;
  lp: number;
  pb: number;
  state: number;
  rep0: number;
  rep1: number;
  rep2: number;
  rep3: number;
}

const PROB_INITIAL = 1024;
const STATES_SHIFTED: number = 12 << 4;

// Where each group of probabilities begins.
const IS_MATCH = 0;
const IS_REP: number = IS_MATCH + STATES_SHIFTED;
const IS_REP_G0: number = IS_REP + 12;
const IS_REP_G1: number = IS_REP_G0 + 12;
const IS_REP_G2: number = IS_REP_G1 + 12;
const IS_REP0_LONG: number = IS_REP_G2 + 12;
const POS_SLOT: number = IS_REP0_LONG + STATES_SHIFTED;
const POS_SPECIAL: number = POS_SLOT + 4 * 64;
const ALIGN: number = POS_SPECIAL + 115;
const LEN: number = ALIGN + 16;
const LEN_LOW = 2;
const LEN_MID: number = LEN_LOW + (16 << 3);
const LEN_HIGH: number = LEN_MID + (16 << 3);
const LEN_SIZE: number = LEN_HIGH + 256;
const REP_LEN: number = LEN + LEN_SIZE;
const LITERAL: number = REP_LEN + LEN_SIZE;
/** LZMA2 allows no more than 4 for both together. */
const LITERAL_CODERS_MAX: number = 0x300 << 4;

export function newLzmaState(): LzmaState {
  const probs = new Uint16Array(LITERAL + LITERAL_CODERS_MAX);
  return { probs, lc: 0, lp: 0, pb: 0, state: 0, rep0: 0, rep1: 0, rep2: 0, rep3: 0 };
}

/** What a chunk with a state reset begins with. */
export function resetLzmaState(lzma: LzmaState): void {
  lzma.probs.fill(PROB_INITIAL);
  lzma.state = 0;
  lzma.rep0 = 0;
  lzma.rep1 = 0;
  lzma.rep2 = 0;
  lzma.rep3 = 0;
}

/** Where a chunk's output goes: behind the history that its matches copy from. */
export interface LzmaOutput {
  readonly bytes: Uint8Array;
  readonly from: number;
  readonly to: number;
  /** Bytes before `from` that matches may reach back to. */
  readonly historyBytes: number;
  /** Bytes since the dictionary was reset: positions are taken modulo a power of two of it. */
  readonly processedBytes: number;
}

/**
 * Decodes one LZMA chunk: all of `input` gives all of the output range. False when it does not. The arithmetic
 * decoder is written out at each of its places: calls there would halve the speed.
 */
export function decodeLzmaChunk(lzma: LzmaState, input: Uint8Array, output: LzmaOutput): boolean {
  const { probs, lc, lp, pb } = lzma;
  const { bytes, from, to } = output;
  const inputEnd = input.length;
  if (inputEnd < 5 || input[0] !== 0) return false;
  let code =
    ((input[1] as number) << 24) |
    ((input[2] as number) << 16) |
    ((input[3] as number) << 8) |
    (input[4] as number);
  let range = 0xffffffff | 0;
  let at = 5;
  let { state, rep0, rep1, rep2, rep3 } = lzma;
  let out = from;
  const oldest = from - output.historyBytes;
  const shift = output.processedBytes - from;
  const pbMask = (1 << pb) - 1;
  const lpMask = (1 << lp) - 1;
  const lcShift = 8 - lc;
  let index = 0;
  let prob = 0;
  let bound = 0;

  while (out < to) {
    // A damaged chunk reads zeros behind its end, and is found out here before it costs more.
    if (at > inputEnd) return false;
    const position = out + shift;
    const posState = position & pbMask;

    index = IS_MATCH + (state << 4) + posState;
    prob = probs[index] as number;
    bound = Math.imul(range >>> 11, prob);
    if (code >>> 0 < bound >>> 0) {
      range = bound;
      probs[index] = prob + ((2048 - prob) >>> 5);
      if (range >>> 24 === 0) {
        range <<= 8;
        code = (code << 8) | (input[at++] as number);
      }
      const previous = out > oldest ? (bytes[out - 1] as number) : 0;
      const base = LITERAL + 0x300 * (((position & lpMask) << lc) + (previous >>> lcShift));
      let symbol = 1;
      if (state >= 7) {
        let matched = bytes[out - rep0 - 1] as number;
        let offset = 0x100;
        do {
          matched <<= 1;
          const matchBit = matched & offset;
          index = base + offset + matchBit + symbol;
          prob = probs[index] as number;
          bound = Math.imul(range >>> 11, prob);
          if (code >>> 0 < bound >>> 0) {
            range = bound;
            probs[index] = prob + ((2048 - prob) >>> 5);
            symbol <<= 1;
            offset &= ~matchBit;
          } else {
            range = (range - bound) | 0;
            code = (code - bound) | 0;
            probs[index] = prob - (prob >>> 5);
            symbol = (symbol << 1) | 1;
            offset &= matchBit;
          }
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | (input[at++] as number);
          }
        } while (symbol < 0x100);
      } else {
        do {
          index = base + symbol;
          prob = probs[index] as number;
          bound = Math.imul(range >>> 11, prob);
          if (code >>> 0 < bound >>> 0) {
            range = bound;
            probs[index] = prob + ((2048 - prob) >>> 5);
            symbol <<= 1;
          } else {
            range = (range - bound) | 0;
            code = (code - bound) | 0;
            probs[index] = prob - (prob >>> 5);
            symbol = (symbol << 1) | 1;
          }
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | (input[at++] as number);
          }
        } while (symbol < 0x100);
      }
      bytes[out++] = symbol;
      state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
      continue;
    }
    range = (range - bound) | 0;
    code = (code - bound) | 0;
    probs[index] = prob - (prob >>> 5);
    if (range >>> 24 === 0) {
      range <<= 8;
      code = (code << 8) | (input[at++] as number);
    }

    index = IS_REP + state;
    prob = probs[index] as number;
    bound = Math.imul(range >>> 11, prob);
    let lengthCoder = LEN;
    if (code >>> 0 < bound >>> 0) {
      range = bound;
      probs[index] = prob + ((2048 - prob) >>> 5);
      if (range >>> 24 === 0) {
        range <<= 8;
        code = (code << 8) | (input[at++] as number);
      }
      rep3 = rep2;
      rep2 = rep1;
      rep1 = rep0;
      state = state < 7 ? 7 : 10;
    } else {
      range = (range - bound) | 0;
      code = (code - bound) | 0;
      probs[index] = prob - (prob >>> 5);
      if (range >>> 24 === 0) {
        range <<= 8;
        code = (code << 8) | (input[at++] as number);
      }
      lengthCoder = REP_LEN;
      index = IS_REP_G0 + state;
      prob = probs[index] as number;
      bound = Math.imul(range >>> 11, prob);
      if (code >>> 0 < bound >>> 0) {
        range = bound;
        probs[index] = prob + ((2048 - prob) >>> 5);
        if (range >>> 24 === 0) {
          range <<= 8;
          code = (code << 8) | (input[at++] as number);
        }
        index = IS_REP0_LONG + (state << 4) + posState;
        prob = probs[index] as number;
        bound = Math.imul(range >>> 11, prob);
        if (code >>> 0 < bound >>> 0) {
          range = bound;
          probs[index] = prob + ((2048 - prob) >>> 5);
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | (input[at++] as number);
          }
          if (rep0 >>> 0 >= out - oldest) return false;
          bytes[out] = bytes[out - rep0 - 1] as number;
          out++;
          state = state < 7 ? 9 : 11;
          continue;
        }
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        probs[index] = prob - (prob >>> 5);
        if (range >>> 24 === 0) {
          range <<= 8;
          code = (code << 8) | (input[at++] as number);
        }
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        probs[index] = prob - (prob >>> 5);
        if (range >>> 24 === 0) {
          range <<= 8;
          code = (code << 8) | (input[at++] as number);
        }
        let distance = rep1;
        index = IS_REP_G1 + state;
        prob = probs[index] as number;
        bound = Math.imul(range >>> 11, prob);
        if (code >>> 0 < bound >>> 0) {
          range = bound;
          probs[index] = prob + ((2048 - prob) >>> 5);
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | (input[at++] as number);
          }
        } else {
          range = (range - bound) | 0;
          code = (code - bound) | 0;
          probs[index] = prob - (prob >>> 5);
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | (input[at++] as number);
          }
          distance = rep2;
          index = IS_REP_G2 + state;
          prob = probs[index] as number;
          bound = Math.imul(range >>> 11, prob);
          if (code >>> 0 < bound >>> 0) {
            range = bound;
            probs[index] = prob + ((2048 - prob) >>> 5);
          } else {
            range = (range - bound) | 0;
            code = (code - bound) | 0;
            probs[index] = prob - (prob >>> 5);
            distance = rep3;
            rep3 = rep2;
          }
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | (input[at++] as number);
          }
          rep2 = rep1;
        }
        rep1 = rep0;
        rep0 = distance;
      }
      state = state < 7 ? 8 : 11;
    }

    // The length: one of three trees.
    let tree = lengthCoder + LEN_LOW + (posState << 3);
    let treeEnd = 8;
    let length = 2;
    index = lengthCoder;
    prob = probs[index] as number;
    bound = Math.imul(range >>> 11, prob);
    if (code >>> 0 < bound >>> 0) {
      range = bound;
      probs[index] = prob + ((2048 - prob) >>> 5);
    } else {
      range = (range - bound) | 0;
      code = (code - bound) | 0;
      probs[index] = prob - (prob >>> 5);
      if (range >>> 24 === 0) {
        range <<= 8;
        code = (code << 8) | (input[at++] as number);
      }
      index = lengthCoder + 1;
      prob = probs[index] as number;
      bound = Math.imul(range >>> 11, prob);
      if (code >>> 0 < bound >>> 0) {
        range = bound;
        probs[index] = prob + ((2048 - prob) >>> 5);
        tree = lengthCoder + LEN_MID + (posState << 3);
        length = 10;
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        probs[index] = prob - (prob >>> 5);
        tree = lengthCoder + LEN_HIGH;
        treeEnd = 256;
        length = 18;
      }
    }
    if (range >>> 24 === 0) {
      range <<= 8;
      code = (code << 8) | (input[at++] as number);
    }
    let symbol = 1;
    do {
      index = tree + symbol;
      prob = probs[index] as number;
      bound = Math.imul(range >>> 11, prob);
      if (code >>> 0 < bound >>> 0) {
        range = bound;
        probs[index] = prob + ((2048 - prob) >>> 5);
        symbol <<= 1;
      } else {
        range = (range - bound) | 0;
        code = (code - bound) | 0;
        probs[index] = prob - (prob >>> 5);
        symbol = (symbol << 1) | 1;
      }
      if (range >>> 24 === 0) {
        range <<= 8;
        code = (code << 8) | (input[at++] as number);
      }
    } while (symbol < treeEnd);
    length += symbol - treeEnd;

    if (lengthCoder === LEN) {
      // The distance of a new match.
      tree = POS_SLOT + ((length < 6 ? length - 2 : 3) << 6);
      symbol = 1;
      do {
        index = tree + symbol;
        prob = probs[index] as number;
        bound = Math.imul(range >>> 11, prob);
        if (code >>> 0 < bound >>> 0) {
          range = bound;
          probs[index] = prob + ((2048 - prob) >>> 5);
          symbol <<= 1;
        } else {
          range = (range - bound) | 0;
          code = (code - bound) | 0;
          probs[index] = prob - (prob >>> 5);
          symbol = (symbol << 1) | 1;
        }
        if (range >>> 24 === 0) {
          range <<= 8;
          code = (code << 8) | (input[at++] as number);
        }
      } while (symbol < 64);
      const slot = symbol - 64;
      rep0 = slot;
      if (slot >= 4) {
        let bits = (slot >>> 1) - 1;
        rep0 = (2 | (slot & 1)) << bits;
        if (slot < 14) tree = POS_SPECIAL + rep0 - slot - 1;
        else {
          let direct = 0;
          for (let i = bits - 4; i > 0; i--) {
            range >>>= 1;
            code = (code - range) | 0;
            const below = code >> 31;
            code = (code + (range & below)) | 0;
            direct = (direct << 1) + below + 1;
            if (range >>> 24 === 0) {
              range <<= 8;
              code = (code << 8) | (input[at++] as number);
            }
          }
          rep0 = (rep0 + (direct << 4)) | 0;
          tree = ALIGN;
          bits = 4;
        }
        symbol = 1;
        for (let i = 0; i < bits; i++) {
          index = tree + symbol;
          prob = probs[index] as number;
          bound = Math.imul(range >>> 11, prob);
          if (code >>> 0 < bound >>> 0) {
            range = bound;
            probs[index] = prob + ((2048 - prob) >>> 5);
            symbol <<= 1;
          } else {
            range = (range - bound) | 0;
            code = (code - bound) | 0;
            probs[index] = prob - (prob >>> 5);
            symbol = (symbol << 1) | 1;
            rep0 = (rep0 + (1 << i)) | 0;
          }
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | (input[at++] as number);
          }
        }
      }
    }

    if (rep0 >>> 0 >= out - oldest || length > to - out) return false;
    let source = out - rep0 - 1;
    const copyEnd = out + length;
    if (rep0 >= length && length > 32) {
      bytes.copyWithin(out, source, source + length);
      out = copyEnd;
    } else {
      while (out < copyEnd) bytes[out++] = bytes[source++] as number;
    }
  }

  lzma.state = state;
  lzma.rep0 = rep0;
  lzma.rep1 = rep1;
  lzma.rep2 = rep2;
  lzma.rep3 = rep3;
  return at === inputEnd && code === 0;
}
