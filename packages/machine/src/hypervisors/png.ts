import { crc32, deflateSync } from 'node:zlib';
import { StoreError } from '@gantry/disk';

const SIGNATURE: readonly number[] = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** No screen is wider or higher. */
const SIDE_MAX = 32_768;

/** A picture as PNG (RFC 2083): as it is, or from a PPM of 8 bits a colour (`P6`). Throws STORE_IO for others. */
export function asPng(picture: Uint8Array): Uint8Array {
  if (SIGNATURE.every((byte, at) => picture[at] === byte)) return picture;
  const head = /^P6\s(?:#[^\n]*\n)?(\d+)\s(\d+)\s255\s/.exec(
    Buffer.from(picture.subarray(0, 256)).toString('latin1'),
  );
  const [all = '', width = '0', height = '0'] = head ?? [];
  const rowBytes = Number(width) * 3;
  const rows = Number(height);
  const isWhole = picture.length === all.length + rowBytes * rows;
  if (head === null || rowBytes === 0 || Number(width) > SIDE_MAX || rows > SIDE_MAX || !isWhole)
    throw new StoreError('STORE_IO', 'the hypervisor gives no picture that is known', {
      where: 'screenshot',
    });
  const lines = new Uint8Array((rowBytes + 1) * rows);
  for (let row = 0; row < rows; row++) {
    // Each line begins with the kind of its filter: none.
    const from = all.length + row * rowBytes;
    lines.set(picture.subarray(from, from + rowBytes), row * (rowBytes + 1) + 1);
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(Number(width), 0);
  header.writeUInt32BE(rows, 4);
  // Eight bits a sample, colours without transparency.
  header.set([8, 2], 8);
  return Buffer.concat([
    Buffer.from(SIGNATURE),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(lines)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const check = Buffer.alloc(4);
  check.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, check]);
}
