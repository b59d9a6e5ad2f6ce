import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ImageError, imageErrorCodes, StoreError, storeErrorCodes } from './errors.ts';
import { patternDisk, testFolder, tool } from './formats/images.testkit.ts';
import {
  convert,
  denyReferences,
  fileSink,
  fileSource,
  forwardSource,
  httpSource,
  memorySink,
  memorySource,
  openDisk,
  storeError,
} from './index.ts';

const references = denyReferences;

/** A qcow2 of qemu-img's, changed. */
async function qcow2(context: TestContext, change: (image: Buffer) => void = () => {}): Promise<Buffer> {
  const path = join(await testFolder(context), 'a.qcow2');
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', path, '1m');
  const source = await fileSource(path);
  const image = Buffer.alloc(source.lengthBytes);
  await source.read(0, image);
  await source.close();
  change(image);
  return image;
}

const opened = (image: Uint8Array) => openDisk(memorySource(image), { references });

const imageErrors: Readonly<Record<string, (context: TestContext) => Promise<unknown>>> = {
  IMAGE_MALFORMED: async (context) => opened(await qcow2(context, (image) => image.writeUInt32BE(8, 20))),
  IMAGE_TRUNCATED: async (context) => opened((await qcow2(context)).subarray(0, 65536)),
  IMAGE_UNSUPPORTED: async () => opened(Buffer.from('QED\0')),
  IMAGE_LIMIT: async (context) =>
    opened(await qcow2(context, (image) => image.writeUInt32BE(0x7fffffff, 36))),
  IMAGE_REFERENCE: async (context) =>
    opened(
      await qcow2(context, (image) => {
        image.writeBigUInt64BE(1024n, 8);
        image.writeUInt32BE(11, 16);
        image.write('/etc/passwd', 1024);
      }),
    ),
  IMAGE_AMBIGUOUS: async (context) =>
    opened(Buffer.concat([await qcow2(context), Buffer.from('conectix'.padEnd(512))])),
  IMAGE_OPTION: () =>
    convert(patternDisk(512, []), memorySink(), { format: 'raw', options: { colour: 'red' } }),
  IMAGE_NOT_SEQUENTIAL: async () => {
    async function* zeros(): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < 70; i++) yield new Uint8Array(2 ** 20);
    }
    // What has no mark at its start may have one at its end.
    const source = forwardSource(zeros(), 70 * 2 ** 20, 'upload');
    await openDisk(source, { references });
  },
};

/** An HTTP server that answers every request with this status. */
async function answering(context: TestContext, status: number): Promise<string> {
  const server = createServer((_, answer) => answer.writeHead(status).end());
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  context.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/disk.raw`;
}

const storeErrors: Readonly<Record<string, (context: TestContext) => Promise<unknown>>> = {
  STORE_NOT_FOUND: async (context) => fileSource(join(await testFolder(context), 'absent')),
  STORE_EXISTS: async (context) => fileSink(await testFolder(context)),
  STORE_DENIED: async (context) => httpSource(await answering(context, 403)),
  STORE_FULL: () =>
    writeFile('/dev/full', 'x').catch((error) => {
      throw storeError(error, '/dev/full');
    }),
  STORE_IO: async (context) => fileSource(await testFolder(context)),
  STORE_UNREACHABLE: async () => httpSource('http://127.0.0.1:1/disk.raw', { attempts: 1 }),
  STORE_REFUSED: async () => httpSource('file:///etc/passwd'),
  STORE_CHANGED: async (context) => {
    const path = join(await testFolder(context), 'disk.raw');
    await writeFile(path, 'before');
    const source = await fileSource(path);
    context.after(() => source.close());
    await writeFile(path, '');
    await source.read(0, new Uint8Array(6));
  },
};

for (const code of imageErrorCodes) {
  test(`${code} is what its case ends in, with a structure`, async (context) => {
    const make = imageErrors[code];
    assert.ok(make, `a case of ${code}`);
    await assert.rejects(make(context), (error) => {
      assert.ok(error instanceof ImageError, String(error));
      assert.equal(error.code, code, error.message);
      assert.notEqual(error.structure, '');
      return true;
    });
  });
}

for (const code of storeErrorCodes) {
  // Only a store with hashes of its own can say this: the vault of the service.
  if (code === 'STORE_CORRUPT') continue;
  test(`${code} is what its case ends in, with the place`, async (context) => {
    const make = storeErrors[code];
    assert.ok(make, `a case of ${code}`);
    await assert.rejects(make(context), (error) => {
      assert.ok(error instanceof StoreError, String(error));
      assert.equal(error.code, code, error.message);
      assert.notEqual(error.where, '');
      return true;
    });
  });
}
