const PAGE_SLOTS = 65536;

/**
 * Which sectors of a file are taken by grains of equal length. The file is cut into slots as long as a
 * grain; in a sound file at most one grain begins in a slot, so its place there says all. 4 bytes a slot,
 * where there are grains.
 */
export class GrainClaims {
  readonly #grainSectors: number;
  /** By page: for every slot 1 + the sector within it where a grain begins, 0 for none. */
  readonly #pages = new Map<number, Uint32Array>();

  constructor(grainSectors: number) {
    this.#grainSectors = grainSectors;
  }

  /** Takes the sectors of a grain; false when another grain has one of them already. */
  claim(sector: number): boolean {
    const slot = Math.floor(sector / this.#grainSectors);
    const within = sector % this.#grainSectors;
    const before = this.#begin(slot - 1);
    const after = this.#begin(slot + 1);
    if (this.#begin(slot) !== undefined) return false;
    if (before !== undefined && before > within) return false;
    if (after !== undefined && after < within) return false;
    const pageIndex = Math.floor(slot / PAGE_SLOTS);
    let page = this.#pages.get(pageIndex);
    if (page === undefined) {
      page = new Uint32Array(PAGE_SLOTS);
      this.#pages.set(pageIndex, page);
    }
    page[slot % PAGE_SLOTS] = within + 1;
    return true;
  }

  #begin(slot: number): number | undefined {
    const mark = this.#pages.get(Math.floor(slot / PAGE_SLOTS))?.[slot % PAGE_SLOTS] ?? 0;
    return mark === 0 ? undefined : mark - 1;
  }
}

/** Places of equal length that begin at multiples of it: which are taken, a bit for each. */
export class BitClaims {
  readonly #pages = new Map<number, Uint8Array>();

  /** Takes a place; false when it is taken already. */
  claim(index: number): boolean {
    const bit = index % 8;
    const byte = (index - bit) / 8;
    const pageIndex = Math.floor(byte / PAGE_SLOTS);
    let page = this.#pages.get(pageIndex);
    if (page === undefined) {
      page = new Uint8Array(PAGE_SLOTS);
      this.#pages.set(pageIndex, page);
    }
    const held = page[byte % PAGE_SLOTS] ?? 0;
    page[byte % PAGE_SLOTS] = held | (1 << bit);
    return (held & (1 << bit)) === 0;
  }
}
