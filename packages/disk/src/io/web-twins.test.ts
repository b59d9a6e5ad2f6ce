import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import zlib from 'node:zlib';
import * as nodeAccelerator from './node-accelerator.ts';
import * as nodeCodec from './node-codec.ts';
import * as nodeCrc32 from './node-crc32.ts';
import * as nodeFile from './node-file.ts';
import * as nodeHash from './node-hash.ts';
import * as nodeInflate from './node-inflate.ts';
import * as nodePatch from './node-patch.ts';
import * as nodeSocket from './node-socket.ts';
import * as nodeUnpack from './node-unpack.ts';
import * as nodeWork from './node-work.ts';
import * as nodeWritableFile from './node-writable-file.ts';
import * as webAccelerator from './web-accelerator.ts';
import * as webCodec from './web-codec.ts';
import * as webCrc32 from './web-crc32.ts';
import * as webFile from './web-file.ts';
import * as webHash from './web-hash.ts';
import * as webInflate from './web-inflate.ts';
import * as webPatch from './web-patch.ts';
import * as webSocket from './web-socket.ts';
import * as webUnpack from './web-unpack.ts';
import * as webWork from './web-work.ts';
import * as webWritableFile from './web-writable-file.ts';

/** What a browser has in place of a module of Node's: what both have is called the same way. */
interface Twin<Module> {
  readonly node: Module;
  readonly web: Partial<Module>;
}

const twins: Readonly<Record<string, Twin<object>>> = {
  'node-accelerator.ts': { node: nodeAccelerator, web: webAccelerator } satisfies Twin<
    typeof nodeAccelerator
  >,
  'node-codec.ts': { node: nodeCodec, web: webCodec } satisfies Twin<typeof nodeCodec>,
  'node-crc32.ts': { node: nodeCrc32, web: webCrc32 } satisfies Twin<typeof nodeCrc32>,
  'node-file.ts': { node: nodeFile, web: webFile } satisfies Twin<typeof nodeFile>,
  'node-hash.ts': { node: nodeHash, web: webHash } satisfies Twin<typeof nodeHash>,
  'node-inflate.ts': { node: nodeInflate, web: webInflate } satisfies Twin<typeof nodeInflate>,
  'node-patch.ts': { node: nodePatch, web: webPatch } satisfies Twin<typeof nodePatch>,
  'node-socket.ts': { node: nodeSocket, web: webSocket } satisfies Twin<typeof nodeSocket>,
  'node-unpack.ts': { node: nodeUnpack, web: webUnpack } satisfies Twin<typeof nodeUnpack>,
  'node-work.ts': { node: nodeWork, web: webWork } satisfies Twin<typeof nodeWork>,
  'node-writable-file.ts': { node: nodeWritableFile, web: webWritableFile } satisfies Twin<
    typeof nodeWritableFile
  >,
};

const sources = dirname(dirname(fileURLToPath(import.meta.url)));

test('everything that the engine takes from a module of Node has a twin for browsers', () => {
  const missing: string[] = [];
  for (const path of readdirSync(sources, { recursive: true, encoding: 'utf8' })) {
    const isOurs = path.endsWith('.ts') && !/\.(test|testkit)\.ts$/.test(path);
    if (!isOurs || /^(node|web)-/.test(basename(path))) continue;
    const code = readFileSync(join(sources, path), 'utf8');
    for (const [, names = '', name = ''] of code.matchAll(/\{([^{}]*)\} from '[^']*\/(node-[\w-]+\.ts)'/g)) {
      const taken = names.split(',').map((word) => word.trim());
      for (const word of taken.filter((each) => each !== '' && !each.startsWith('type '))) {
        const [export_ = ''] = word.split(' as ');
        if (!Object.hasOwn(twins[name]?.web ?? {}, export_)) missing.push(`${path}: ${export_} of ${name}`);
      }
    }
  }
  assert.deepEqual(missing, []);
});

test('what a browser decompresses and hashes is what Node does', async () => {
  const plain = Uint8Array.from({ length: 70_000 }, (_, i) => (i * i) % 97);
  const padding = new Uint8Array(400);
  const raw = Buffer.concat([zlib.deflateRawSync(plain), padding]);
  const framed = Buffer.concat([zlib.deflateSync(plain), padding]);
  assert.deepEqual(await webCodec.decompress('deflate-raw', raw, plain.length, 'cluster'), plain);
  assert.deepEqual(await webCodec.decompress('zlib', framed, plain.length, 'grain'), plain);
  for (const attempt of [raw.subarray(0, 60), new Uint8Array(10).fill(255)]) {
    await assert.rejects(webCodec.decompress('deflate-raw', attempt, plain.length, 'cluster', 5), {
      code: 'IMAGE_MALFORMED',
      offsetBytes: 5,
    });
  }
  for (const length of [plain.length - 1, plain.length + 1]) {
    await assert.rejects(webCodec.decompress('deflate-raw', raw, length, 'cluster'), {
      code: 'IMAGE_MALFORMED',
    });
  }
  await assert.rejects(webCodec.decompress('zstd', raw, 1, 'cluster'), { code: 'IMAGE_UNSUPPORTED' });
  assert.deepEqual(Buffer.from(webHash.sha256(plain)), Buffer.from(nodeHash.sha256(plain)));
  assert.equal(webCrc32.crc32(plain), nodeCrc32.crc32(plain));
  assert.equal(webCrc32.crc32(plain, 0x1234_5678), nodeCrc32.crc32(plain, 0x1234_5678));
  const flushed = zlib.deflateRawSync(plain, { finishFlush: zlib.constants.Z_SYNC_FLUSH });
  assert.deepEqual(await webInflate.inflatePart(flushed, plain.length), plain);
  assert.equal(await webInflate.inflatePart(flushed, plain.length + 1), undefined);
});

test('what a browser compresses, Node inflates; what it cannot is refused', async () => {
  const unit = Uint8Array.from({ length: 65_536 }, (_, i) => (i >> 4) % 200);
  const packed = new Uint8Array(3 * 65_536);
  const task = {
    kind: 'pack' as const,
    plain: Uint8Array.from([...unit, ...new Uint8Array(65_536), ...unit]),
    packed,
    endBytes: 3 * 65_536,
    unitBytes: 65_536,
    compression: 'zlib' as const,
    limitBytes: 65_536,
  };
  const names = { source: 'image', structure: 'grain' };
  const [first = 0, zero, last = 0] = await webWork.runWork(task, names);
  assert.equal(zero, 0);
  assert.deepEqual(new Uint8Array(zlib.inflateSync(packed.subarray(0, first))), unit);
  assert.deepEqual(new Uint8Array(zlib.inflateSync(packed.subarray(first, first + last))), unit);
  assert.deepEqual(await webWork.runWork({ ...task, limitBytes: 10 }, names), [-1, 0, -1]);
  for (const other of [{ compression: 'zstd' as const }, { windowBits: 12 }, { openEnd: true }]) {
    await assert.rejects(webWork.runWork({ ...task, ...other }, names), { code: 'IMAGE_UNSUPPORTED' });
  }
});

test('a browser unpacks gzip as it comes, and says what is wrong with it', async () => {
  const plain = Uint8Array.from({ length: 300_000 }, (_, i) => (i * i) % 251);
  const packed = zlib.gzipSync(plain);
  async function* parts(bytes: Uint8Array) {
    for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
  }
  const unpacked = async (bytes: Uint8Array) => {
    const chunks = await Array.fromAsync(webUnpack.unpackStream('gzip', parts(bytes)));
    return new Uint8Array(Buffer.concat(chunks));
  };
  assert.deepEqual(await unpacked(packed), plain);
  await assert.rejects(unpacked(packed.subarray(0, 300)), { code: 'IMAGE_MALFORMED' });
  await assert.rejects(Array.fromAsync(webUnpack.unpackStream('zstd', parts(packed))), {
    code: 'IMAGE_UNSUPPORTED',
  });
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield packed.subarray(0, 10);
    throw new Error('the store failed');
  }
  await assert.rejects(Array.fromAsync(webUnpack.unpackStream('gzip', failing())), /the store failed/);
});

test('a blob is a source', async () => {
  const { blobSource } = await import('./blob.ts');
  const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i % 256);
  const source = blobSource(new File([bytes], 'vm.qcow2'));
  assert.deepEqual([source.name, source.lengthBytes], ['vm.qcow2', 1000]);
  const part = new Uint8Array(100);
  await source.read(450, part);
  assert.deepEqual(part, bytes.slice(450, 550));
  assert.equal(blobSource(new Blob([bytes])).name, 'blob');
});
