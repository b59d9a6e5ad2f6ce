import { mendChecksums } from './checksums.ts';

/** Numbers that follow from the seed and nothing else. */
export class Randomness {
  #state: bigint;

  constructor(seed: number, index: number) {
    this.#state = BigInt.asUintN(64, (BigInt(seed) << 32n) ^ (BigInt(index) * 0x9e3779b97f4a7c15n));
  }

  /** From 0 to below - 1: splitmix64. */
  below(below: number): number {
    this.#state = BigInt.asUintN(64, this.#state + 0x9e3779b97f4a7c15n);
    let value = this.#state;
    value = BigInt.asUintN(64, (value ^ (value >> 30n)) * 0xbf58476d1ce4e5b9n);
    value = BigInt.asUintN(64, (value ^ (value >> 27n)) * 0x94d049bb133111ebn);
    value ^= value >> 31n;
    return Number(value % BigInt(Math.max(1, below)));
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  of<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)] as Item;
  }
}

/** A good file to bend, with the places that look like metadata. */
export interface Base {
  readonly name: string;
  readonly format: string;
  readonly bytes: Uint8Array;
  /** Offsets of 4-byte words that are neither zero nor the disk's data. */
  readonly words: Uint32Array;
}

/** The bytes of a disk's data in good files: none of them is below this. */
export const DATA_BYTE_MIN = 0x80;

/** The words of a file that say something about it: its data is known by its bytes. */
export function metadataWords(bytes: Uint8Array): Uint32Array {
  const found: number[] = [];
  for (let at = 0; at + 4 <= bytes.length; at += 4) {
    const word = bytes.subarray(at, at + 4);
    const isUnused = word.every((byte) => byte === 0xff);
    if (word.every((byte) => byte === 0)) continue;
    if (!isUnused && word.every((byte) => byte >= DATA_BYTE_MIN)) continue;
    found.push(at);
  }
  return Uint32Array.from(found);
}

/** Bends a file in one to four places. `others` are files of the same format, for splices. */
export function mutated(
  base: Base,
  others: readonly Base[],
  random: Randomness,
): { bytes: Uint8Array; what: string } {
  let bytes = Uint8Array.from(base.bytes);
  const done: string[] = [];
  const count = 1 + Math.floor(random.below(10) / 4);
  for (let index = 0; index < count; index++) {
    const kind = random.of(kinds);
    const result = kind(bytes, base, others, random);
    bytes = result.bytes;
    done.push(result.what);
  }
  if (random.chance(70)) {
    mendChecksums(base.format, bytes);
    done.push('checksums made right');
  }
  return { bytes, what: done.join(', ') };
}

type Kind = (
  bytes: Uint8Array<ArrayBuffer>,
  base: Base,
  others: readonly Base[],
  random: Randomness,
) => { bytes: Uint8Array<ArrayBuffer>; what: string };

/** A place to change: mostly one that says something. */
function placeIn(bytes: Uint8Array, { words }: Base, random: Randomness): number {
  if (words.length > 0 && random.chance(85)) {
    // Many a format has thousands of equal entries and a few fields in front.
    const among = random.chance(50) ? Math.min(words.length, 64) : words.length;
    const at = words[random.below(among)] ?? 0;
    // Beside a word that is there stand fields and entries that are zero.
    const near = random.chance(25) ? (random.below(17) - 8) * 4 : 0;
    if (at + near >= 0 && at + near + 8 <= bytes.length) return at + near;
  }
  return random.below(bytes.length);
}

function flipBit(...[bytes, base, , random]: Parameters<Kind>): ReturnType<Kind> {
  const at = Math.min(placeIn(bytes, base, random) + random.below(4), bytes.length - 1);
  const bit = random.below(8);
  if (bytes.length > 0) bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
  return { bytes, what: `bit ${bit} of byte ${at} flipped` };
}

function setByte(...[bytes, base, , random]: Parameters<Kind>): ReturnType<Kind> {
  const at = Math.min(placeIn(bytes, base, random) + random.below(4), bytes.length - 1);
  const value = random.below(256);
  if (bytes.length > 0) bytes[at] = value;
  return { bytes, what: `byte ${at} set to ${value}` };
}

const bounds: readonly bigint[] = [
  0n,
  1n,
  2n,
  3n,
  7n,
  8n,
  0x7fn,
  0x80n,
  0xffn,
  0x100n,
  511n,
  512n,
  513n,
  4095n,
  4096n,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x10000n,
  0xfffffn,
  0x100000n,
  0x200000n,
  0x7fffffffn,
  0x80000000n,
  0xfffffffen,
  0xffffffffn,
  0x100000000n,
  2n ** 40n,
  2n ** 46n,
  2n ** 52n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 56n,
  2n ** 62n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 2n,
  2n ** 64n - 1n,
];

/** A field of any width set to a value that programs go wrong at, or near to what it was. */
function setField(...[bytes, base, , random]: Parameters<Kind>): ReturnType<Kind> {
  const width = random.of([1, 2, 4, 4, 4, 8, 8]);
  const place = placeIn(bytes, base, random);
  const at = width === 8 && random.chance(50) ? place - (place % 8) : place;
  if (at + width > bytes.length) return { bytes, what: 'nothing' };
  const view = new DataView(bytes.buffer);
  const littleEndian = random.chance(50);
  const mask = 2n ** BigInt(width * 8) - 1n;
  const old = readField(view, at, width, littleEndian);
  const value = newValue(old, bytes.length, random) & mask;
  writeField(view, at, width, littleEndian, value);
  return {
    bytes,
    what: `${width} bytes at ${at} set to 0x${value.toString(16)}${littleEndian ? ', little endian' : ''}`,
  };
}

function newValue(old: bigint, lengthBytes: number, random: Randomness): bigint {
  const end = BigInt(lengthBytes);
  switch (random.below(9)) {
    case 0:
      return old + 1n;
    case 1:
      return old - 1n;
    case 2:
      return old * 2n;
    case 3:
      return old / 2n;
    case 4:
      return random.of([end, end - 1n, end + 1n, end / 512n, end / 512n - 1n, end - 512n, end / 65536n]);
    case 5:
      return old + random.of([-512n, 512n, -4096n, 4096n, 65536n, 1n << 20n, -8n, 8n]);
    case 6:
      return old ^ (1n << BigInt(random.below(64)));
    default:
      return random.of(bounds);
  }
}

function readField(view: DataView, at: number, width: number, littleEndian: boolean): bigint {
  if (width === 8) return view.getBigUint64(at, littleEndian);
  if (width === 4) return BigInt(view.getUint32(at, littleEndian));
  if (width === 2) return BigInt(view.getUint16(at, littleEndian));
  return BigInt(view.getUint8(at));
}

function writeField(view: DataView, at: number, width: number, littleEndian: boolean, value: bigint): void {
  if (width === 8) view.setBigUint64(at, value, littleEndian);
  else if (width === 4) view.setUint32(at, Number(value), littleEndian);
  else if (width === 2) view.setUint16(at, Number(value), littleEndian);
  else view.setUint8(at, Number(value));
}

const BLOCK_LENGTHS = [4, 8, 24, 32, 512, 4096, 65536] as const;

/** A piece of the file over another, as a lost or doubled write leaves it. */
function copyBlock(...[bytes, base, , random]: Parameters<Kind>): ReturnType<Kind> {
  const length = Math.min(random.of(BLOCK_LENGTHS), bytes.length);
  const align = (at: number) => Math.min(at - (at % length), bytes.length - length);
  const from = align(placeIn(bytes, base, random));
  const to = align(placeIn(bytes, base, random));
  bytes.copyWithin(to, from, from + length);
  return { bytes, what: `${length} bytes at ${from} copied to ${to}` };
}

function fillBlock(...[bytes, base, , random]: Parameters<Kind>): ReturnType<Kind> {
  const length = Math.min(random.of(BLOCK_LENGTHS), bytes.length);
  const place = placeIn(bytes, base, random);
  const at = Math.min(place - (place % length), bytes.length - length);
  const value = random.of([0, 0xff]);
  bytes.fill(value, at, at + length);
  return { bytes, what: `${length} bytes at ${at} filled with ${value}` };
}

function cut(...[bytes, base, , random]: Parameters<Kind>): ReturnType<Kind> {
  const place = random.chance(50) ? placeIn(bytes, base, random) : random.below(bytes.length + 1);
  const at = random.chance(50) ? place - (place % random.of([512, 4096, 65536])) : place;
  return { bytes: bytes.slice(0, at), what: `cut to ${at} bytes` };
}

function grow(...[bytes, , , random]: Parameters<Kind>): ReturnType<Kind> {
  const more = random.of([1, 511, 512, 4096, 65536]);
  const grown = new Uint8Array(bytes.length + more);
  grown.set(bytes);
  const value = random.of([0, 0xff, 0x41]);
  grown.fill(value, bytes.length);
  return { bytes: grown, what: `${more} bytes of ${value} at the end` };
}

/** The front of one file before the rest of another. */
function splice(...[bytes, , others, random]: Parameters<Kind>): ReturnType<Kind> {
  const other = random.of(others);
  const align = random.of([512, 4096, 65536]);
  const at = random.below(Math.ceil(bytes.length / align) + 1) * align;
  const spliced = new Uint8Array(Math.max(Math.min(at, bytes.length), other.bytes.length));
  spliced.set(bytes.subarray(0, at));
  if (at < other.bytes.length) spliced.set(other.bytes.subarray(at), at);
  return { bytes: spliced, what: `${other.name} from ${at} on` };
}

/** Two pieces of the file in each other's place. */
function swapBlocks(...[bytes, base, , random]: Parameters<Kind>): ReturnType<Kind> {
  const length = Math.min(random.of(BLOCK_LENGTHS), bytes.length);
  const align = (at: number) => Math.min(at - (at % length), bytes.length - length);
  const first = align(placeIn(bytes, base, random));
  const second = align(placeIn(bytes, base, random));
  const kept = bytes.slice(first, first + length);
  bytes.copyWithin(first, second, second + length);
  bytes.set(kept, second);
  return { bytes, what: `${length} bytes at ${first} and ${second} in each other's place` };
}

const kinds: readonly Kind[] = [
  flipBit,
  flipBit,
  setByte,
  setField,
  setField,
  setField,
  setField,
  setField,
  copyBlock,
  fillBlock,
  swapBlocks,
  cut,
  grow,
  splice,
];
