/**
 * CRC-64 of ECMA-182, reflected: the check that `xz` adds by default. As two halves of 32 bits, four bytes at a
 * time; the tables take 8 KiB.
 */
const LOW: Uint32Array = new Uint32Array(4 * 256);
const HIGH: Uint32Array = new Uint32Array(4 * 256);
const POLYNOMIAL_LOW = 0xd7870f42;
const POLYNOMIAL_HIGH = 0xc96c5795;

for (let byte = 0; byte < 256; byte++) {
  let low = byte;
  let high = 0;
  for (let bit = 0; bit < 8; bit++) {
    const odd = low & 1;
    low = ((low >>> 1) | (high << 31)) ^ (odd ? POLYNOMIAL_LOW : 0);
    high = (high >>> 1) ^ (odd ? POLYNOMIAL_HIGH : 0);
  }
  LOW[byte] = low;
  HIGH[byte] = high;
}
for (let i = 256; i < 4 * 256; i++) {
  const low = LOW[i - 256] as number;
  const high = HIGH[i - 256] as number;
  LOW[i] = ((low >>> 8) | (high << 24)) ^ (LOW[low & 0xff] as number);
  HIGH[i] = (high >>> 8) ^ (HIGH[low & 0xff] as number);
}

export class Crc64 {
  #low = 0xffffffff | 0;
  #high = 0xffffffff | 0;

  update(bytes: Uint8Array): void {
    let low = this.#low;
    let high = this.#high;
    const wordsEnd = bytes.length - (bytes.length % 4);
    let at = 0;
    for (; at < wordsEnd; at += 4) {
      const a = (low ^ (bytes[at] as number)) & 0xff;
      const b = ((low >>> 8) ^ (bytes[at + 1] as number)) & 0xff;
      const c = ((low >>> 16) ^ (bytes[at + 2] as number)) & 0xff;
      const d = (low >>> 24) ^ (bytes[at + 3] as number);
      low =
        high ^
        (LOW[768 + a] as number) ^
        (LOW[512 + b] as number) ^
        (LOW[256 + c] as number) ^
        (LOW[d] as number);
      high =
        (HIGH[768 + a] as number) ^
        (HIGH[512 + b] as number) ^
        (HIGH[256 + c] as number) ^
        (HIGH[d] as number);
    }
    for (; at < bytes.length; at++) {
      const index = (low ^ (bytes[at] as number)) & 0xff;
      low = ((low >>> 8) | (high << 24)) ^ (LOW[index] as number);
      high = (high >>> 8) ^ (HIGH[index] as number);
    }
    this.#low = low;
    this.#high = high;
  }

  /** Eight bytes, least significant first. */
  digest(): Uint8Array {
    const bytes = new Uint8Array(8);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, ~this.#low, true);
    view.setUint32(4, ~this.#high, true);
    return bytes;
  }
}
