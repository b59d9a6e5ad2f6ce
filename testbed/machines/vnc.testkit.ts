import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** What a screen shows: a colour a pixel, 0xRRGGBB, row by row. */
export interface Screen {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint32Array;
}

/** What the client asks for: 32 bits a pixel, little-endian, red in bits 16 to 23 (RFC 6143, 7.4). */
const pixelFormat = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];

/** The screens that a VNC server shows one after the other, each whole (RFC 6143; version 3.8, no password, Raw). */
export async function* screensOf(host: string, port: number): AsyncGenerator<Screen> {
  const socket = connect(port, host);
  try {
    await once(socket, 'connect');
    const input = new Input(socket);
    const version = await input.take(12);
    if (version.toString('latin1') !== 'RFB 003.008\n') throw new Error(`the server speaks ${version}`);
    socket.write(version);
    const [count = 0] = await input.take(1);
    const types = await input.take(count);
    if (!types.includes(1)) throw new Error(`the server wants a password: types ${[...types]}`);
    socket.write(Uint8Array.of(1));
    if ((await input.take(4)).readUInt32BE() !== 0) throw new Error('the server refuses the client');
    socket.write(Uint8Array.of(1));
    const start = await input.take(24);
    await input.take(start.readUInt32BE(20));
    let [width, height] = [start.readUInt16BE(0), start.readUInt16BE(2)];
    const DESKTOP_SIZE = -223;
    socket.write(Uint8Array.of(0, 0, 0, 0, ...pixelFormat));
    socket.write(Buffer.from('0200000200000000ffffff21', 'hex'));
    let pixels = new Uint32Array(width * height);
    for (;;) {
      const request = Buffer.alloc(10);
      request[0] = 3;
      request.writeUInt16BE(width, 6);
      request.writeUInt16BE(height, 8);
      socket.write(request);
      const head = await input.take(4);
      if (head[0] !== 0) throw new Error(`the server sends a message ${head[0]}`);
      for (let left = head.readUInt16BE(2); left > 0; left--) {
        const place = await input.take(12);
        const [x = 0, y = 0, w = 0, h = 0] = [0, 2, 4, 6].map((at) => place.readUInt16BE(at));
        if (place.readInt32BE(8) === DESKTOP_SIZE) {
          [width, height] = [w, h];
          pixels = new Uint32Array(width * height);
          continue;
        }
        const bytes = await input.take(w * h * 4);
        for (let at = 0; at < w * h; at++) {
          const target = (y + Math.floor(at / w)) * width + x + (at % w);
          pixels[target] = bytes.readUInt32LE(at * 4) % 2 ** 24;
        }
      }
      yield { width, height, pixels };
    }
  } finally {
    socket.destroy();
  }
}

/** Takes as many bytes as are wanted from what arrives. */
class Input {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#chunks = socket[Symbol.asyncIterator]();
  }

  async take(lengthBytes: number): Promise<Buffer> {
    const parts = [this.#rest];
    let present = this.#rest.length;
    while (present < lengthBytes) {
      const { done, value } = await this.#chunks.next();
      if (done === true) throw new Error('the server has ended the connection');
      parts.push(value);
      present += value.length;
    }
    const all = Buffer.concat(parts);
    this.#rest = all.subarray(lengthBytes);
    return all.subarray(0, lengthBytes);
  }
}
