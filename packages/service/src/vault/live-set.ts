/**
 * Block hashes seen by a collection, as their first 8 bytes: two blocks that share these are both kept when
 * either is in use, so a collision costs space and never data. Holds the hashes of one shard, so that the
 * memory is bounded for a vault of any size.
 */
export class LiveSet {
  readonly shard: number;
  readonly shardCount: number;
  #words: Uint32Array;
  #count = 0;

  /** `shardCount` is a power of two up to 256; a hash belongs to the shard that its first byte tells. */
  constructor(shard: number, shardCount: number, expectedCount: number) {
    this.shard = shard;
    this.shardCount = shardCount;
    this.#words = new Uint32Array(2 * 2 ** Math.ceil(Math.log2(Math.max(1024, expectedCount * 2))));
  }

  /** Adds the hash when it belongs to this shard. */
  add(hash: Uint8Array): void {
    if (!this.covers(hash)) return;
    if (this.#count * 4 > this.#words.length) this.#grow();
    if (insert(this.#words, wordAt(hash, 0), wordAt(hash, 4))) this.#count++;
  }

  has(hash: Uint8Array): boolean {
    const high = wordAt(hash, 0);
    const low = wordAt(hash, 4);
    const at = slotOf(this.#words, high, low);
    return this.#words[at] === high && this.#words[at + 1] === low;
  }

  covers(hash: Uint8Array): boolean {
    return Math.floor(((hash[0] ?? 0) * this.shardCount) / 256) === this.shard;
  }

  /** The least hash of the shard, and that of the next one; undefined for the last. */
  bounds(): { from: Uint8Array; before: Uint8Array | undefined } {
    const start = (shard: number) => Uint8Array.of((shard * 256) / this.shardCount);
    return {
      from: this.shard === 0 ? new Uint8Array(0) : start(this.shard),
      before: this.shard === this.shardCount - 1 ? undefined : start(this.shard + 1),
    };
  }

  #grow(): void {
    const grown = new Uint32Array(this.#words.length * 2);
    for (let at = 0; at < this.#words.length; at += 2) {
      const high = this.#words[at] ?? 0;
      const low = this.#words[at + 1] ?? 0;
      if (high !== 0 || low !== 0) insert(grown, high, low);
    }
    this.#words = grown;
  }
}

/**
 * Open addressing in pairs of words; a pair of zeros is free. A hash that begins with 8 bytes of zeros always
 * seems to be there: its block is kept.
 */
function slotOf(words: Uint32Array, high: number, low: number): number {
  const pairs = words.length / 2;
  let pair = low % pairs;
  for (;;) {
    const at = pair * 2;
    if ((words[at] === 0 && words[at + 1] === 0) || (words[at] === high && words[at + 1] === low)) return at;
    pair = (pair + 1) % pairs;
  }
}

function insert(words: Uint32Array, high: number, low: number): boolean {
  const at = slotOf(words, high, low);
  if (words[at] === high && words[at + 1] === low) return false;
  words[at] = high;
  words[at + 1] = low;
  return true;
}

/** Four bytes as a number. */
function wordAt(hash: Uint8Array, at: number): number {
  const high = (hash[at] ?? 0) * 256 + (hash[at + 1] ?? 0);
  return high * 65536 + (hash[at + 2] ?? 0) * 256 + (hash[at + 3] ?? 0);
}
