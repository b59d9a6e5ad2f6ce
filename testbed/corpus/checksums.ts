import { withVhdChecksum } from './vhd.ts';
import { crc32c } from './vhdx-image.ts';

const KIB = 1024;

/**
 * Makes the checksums of a bent file right again, in place: without that, most changes of a format that has them
 * would end at the first look.
 */
export function mendChecksums(format: string, bytes: Uint8Array): void {
  if (format === 'vhd') mendVhd(bytes);
  else if (format === 'vhdx') mendVhdx(bytes);
  else if (format === 'ova' || format === 'oci') mendTar(bytes);
  else if (format === 'zvhd' || format === 'zvhd2') mendZvhd(bytes);
}

function startsWith(bytes: Uint8Array, at: number, text: string): boolean {
  return Buffer.from(bytes.subarray(at, at + text.length)).toString('latin1') === text;
}

function mendVhd(bytes: Uint8Array): void {
  for (const at of [0, bytes.length - 512]) {
    if (at >= 0 && at + 512 <= bytes.length && startsWith(bytes, at, 'conectix'))
      withVhdChecksum(bytes.subarray(at, at + 512), 64);
  }
  for (let at = 512; at + 1024 <= Math.min(bytes.length, 64 * KIB); at += 512) {
    if (startsWith(bytes, at, 'cxsparse')) withVhdChecksum(bytes.subarray(at, at + 1024), 36);
  }
}

function mendVhdx(bytes: Uint8Array): void {
  const mend = (at: number, lengthBytes: number, mark: string) => {
    if (at + lengthBytes > bytes.length || !startsWith(bytes, at, mark)) return;
    const part = bytes.subarray(at, at + lengthBytes);
    const view = new DataView(part.buffer, part.byteOffset);
    view.setUint32(4, 0, true);
    view.setUint32(4, crc32c(part), true);
  };
  for (const at of [64 * KIB, 128 * KIB]) mend(at, 4096, 'head');
  for (const at of [192 * KIB, 256 * KIB]) mend(at, 64 * KIB, 'regi');
  for (let at = KIB * KIB; at + 4096 <= Math.min(bytes.length, 2 * KIB * KIB); at += 4096) {
    if (!startsWith(bytes, at, 'loge')) continue;
    const lengthBytes = new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(8, true);
    if (lengthBytes >= 4096 && lengthBytes <= KIB * KIB) mend(at, lengthBytes, 'loge');
  }
}

function mendTar(bytes: Uint8Array): void {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    if (!startsWith(bytes, at + 257, 'ustar')) continue;
    const block = bytes.subarray(at, at + 512);
    block.fill(0x20, 148, 156);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.set(Buffer.from(`${sum.toString(8).padStart(6, '0')}\0 `), 148);
  }
}

function mendZvhd(bytes: Uint8Array): void {
  for (let at = 0; at + 512 <= bytes.length; at += 4096) {
    if (!startsWith(bytes, at, 'stream\0\0') && !startsWith(bytes, at, 'z2strm\0\0')) continue;
    const head = bytes.subarray(at, at + 512);
    const view = new DataView(head.buffer, head.byteOffset);
    view.setUint32(64, 0, true);
    view.setUint32(64, 0xffffffff - head.reduce((total, byte) => total + byte, 0), true);
  }
}
