/** Views and small conversions over bytes; all offsets are in bytes. */

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const utf8 = new TextDecoder('utf-8');
const encoder = new TextEncoder();

/** As many arguments as a call surely takes. */
const CHARACTERS_AT_ONCE = 4096;

/** Bytes as text, one character a byte: for magics and ASCII fields. Node's decoder takes 2 ms to be there. */
export function latin1Text(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += CHARACTERS_AT_ONCE) {
    text += String.fromCharCode(...bytes.subarray(at, at + CHARACTERS_AT_ONCE));
  }
  return text;
}

export function utf8Text(bytes: Uint8Array): string {
  return utf8.decode(bytes);
}

export function utf8Bytes(text: string): Uint8Array {
  return encoder.encode(text);
}

/** True when `bytes` holds `magic` (one character a byte) at `offset`. */
export function hasMagic(bytes: Uint8Array, magic: string, offset = 0): boolean {
  if (offset < 0 || bytes.length < offset + magic.length) return false;
  for (let i = 0; i < magic.length; i++) {
    if (bytes[offset + i] !== magic.charCodeAt(i)) return false;
  }
  return true;
}

/** True when every byte is zero. Looks at 32 bytes at a time where the view is aligned. */
export function isZero(bytes: Uint8Array): boolean {
  const length = bytes.length;
  if (length === 0) return true;
  if (bytes[0] !== 0 || bytes[length - 1] !== 0 || bytes[length >> 1] !== 0) return false;
  let at = 0;
  if (bytes.byteOffset % 4 === 0) {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, length >> 2);
    const end = words.length - (words.length % 8);
    for (let i = 0; i < end; i += 8) {
      const low = word(words, i) | word(words, i + 1) | word(words, i + 2) | word(words, i + 3);
      const high = word(words, i + 4) | word(words, i + 5) | word(words, i + 6) | word(words, i + 7);
      if ((low | high) !== 0) return false;
    }
    at = end * 4;
  }
  for (; at < length; at++) if (bytes[at] !== 0) return false;
  return true;
}

function word(words: Int32Array, index: number): number {
  return words[index] as number;
}

export function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && firstDifference(a, b) === -1;
}

/** Index of the first byte that differs, or -1; the arrays have equal lengths. */
export function firstDifference(a: Uint8Array, b: Uint8Array): number {
  let i = 0;
  if (a.byteOffset % 8 === 0 && b.byteOffset % 8 === 0) {
    const wordCount = a.length >> 3;
    const left = new BigUint64Array(a.buffer, a.byteOffset, wordCount);
    const right = new BigUint64Array(b.buffer, b.byteOffset, wordCount);
    while (i < wordCount && left[i] === right[i]) i++;
    i *= 8;
  }
  for (; i < a.length; i++) if (a[i] !== b[i]) return i;
  return -1;
}

export function hexText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
