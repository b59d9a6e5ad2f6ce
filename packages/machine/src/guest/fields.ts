import { ImageError } from '@gantry/disk';

const latin1 = new TextDecoder('latin1');
const utf8 = new TextDecoder();
const utf16 = new TextDecoder('utf-16le');

/**
 * The fields of one structure of a guest's disk. Every one is compared with the end of the structure first: what
 * points out of it throws IMAGE_MALFORMED, a 64-bit number above 2^53 - 1 IMAGE_LIMIT. Offsets are in bytes.
 */
export class Fields {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #structure: string;
  readonly #littleEndian: boolean;

  constructor(bytes: Uint8Array, structure: string, byteOrder: 'little' | 'big' = 'little') {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#structure = structure;
    this.#littleEndian = byteOrder === 'little';
  }

  get lengthBytes(): number {
    return this.bytes.length;
  }

  u8(offset: number): number {
    return this.#view.getUint8(this.#inside(offset, 1));
  }

  u16(offset: number): number {
    return this.#view.getUint16(this.#inside(offset, 2), this.#littleEndian);
  }

  u32(offset: number): number {
    return this.#view.getUint32(this.#inside(offset, 4), this.#littleEndian);
  }

  i32(offset: number): number {
    return this.#view.getInt32(this.#inside(offset, 4), this.#littleEndian);
  }

  u64(offset: number): number {
    const value = this.big(offset);
    if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
    throw new ImageError('IMAGE_LIMIT', `${this.#structure}: ${value} is above 2^53 - 1`, {
      structure: this.#structure,
    });
  }

  /** 64 bits that are no count or place, or have parts. */
  big(offset: number): bigint {
    return this.#view.getBigUint64(this.#inside(offset, 8), this.#littleEndian);
  }

  part(offset: number, lengthBytes: number): Uint8Array {
    this.#inside(offset, lengthBytes);
    return this.bytes.subarray(offset, offset + lengthBytes);
  }

  /** A part as a structure of its own, in the same byte order. */
  fields(offset: number, lengthBytes: number, structure: string = this.#structure): Fields {
    return new Fields(this.part(offset, lengthBytes), structure, this.#littleEndian ? 'little' : 'big');
  }

  latin1(offset: number, lengthBytes: number): string {
    return latin1.decode(this.part(offset, lengthBytes));
  }

  /** Up to the first zero byte. */
  utf8(offset: number, lengthBytes: number): string {
    return utf8Text(this.part(offset, lengthBytes));
  }

  /** UTF-16, little endian, up to the first zero. */
  utf16(offset: number, lengthBytes: number): string {
    const text = utf16.decode(this.part(offset, lengthBytes));
    const end = text.indexOf('\0');
    return end < 0 ? text : text.slice(0, end);
  }

  /** A GUID as Microsoft and UEFI store it, in lower case. */
  guid(offset: number): string {
    const guid = this.part(offset, 16);
    return uuidText(
      Uint8Array.from([3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15], (i) => guid[i] ?? 0),
    );
  }

  /** A UUID in the order of its text. */
  uuid(offset: number): string {
    return uuidText(this.part(offset, 16));
  }

  /** True when the text (one character a byte) stands there. */
  has(offset: number, text: string): boolean {
    if (offset + text.length > this.bytes.length) return false;
    return this.latin1(offset, text.length) === text;
  }

  malformed(what: string): ImageError {
    return malformed(this.#structure, what);
  }

  #inside(offset: number, lengthBytes: number): number {
    if (
      Number.isSafeInteger(offset) &&
      offset >= 0 &&
      lengthBytes >= 0 &&
      offset + lengthBytes <= this.bytes.length
    )
      return offset;
    throw malformed(this.#structure, `a field at byte ${offset} lies outside its ${this.bytes.length} bytes`);
  }
}

export function malformed(structure: string, what: string): ImageError {
  return new ImageError('IMAGE_MALFORMED', `${structure}: ${what}`, {
    structure,
    hint: 'the guest would not read it either, or not all of it: look at it with its own tools',
  });
}

export function tooMany(structure: string, limit: number): ImageError {
  return new ImageError('IMAGE_LIMIT', `${structure}: more than ${limit}`, { structure });
}

/** What is not read: by its name. */
export function notRead(structure: string, what: string): ImageError {
  return new ImageError('IMAGE_UNSUPPORTED', `${structure}: ${what}`, { structure });
}

/** The text up to the first zero byte. */
export function utf8Text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return utf8.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

function uuidText(uuid: Uint8Array): string {
  const hex = Array.from(uuid, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
