import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { viewOf } from '../bytes/fields.ts';
import { diskDigest } from '../disk/digest.ts';
import { denyReferences } from '../disk/reference-gate.ts';
import {
  assertExtentsTellTheTruth,
  assertSameBytes,
  diskBytes,
  patternDisk,
  testFolder,
  tool,
  writeRaw,
} from '../formats/images.testkit.ts';
import { openDisk } from '../formats/open.ts';
import { sparseDisks } from '../formats/placement.testkit.ts';
import { nbdSource, openNbd } from './client.ts';
import { nbdkit, qemuNbd, served } from './nbd.testkit.ts';
import { CHUNK, chunkBytes, IHAVEOPT, NBDMAGIC, REQUEST_BYTES, uint16 } from './protocol.ts';

const MIB = 2 ** 20;

async function opened(context: TestContext, address: string) {
  const disk = await openNbd(address);
  context.after(() => disk.close());
  return disk;
}

async function kinds(disk: Awaited<ReturnType<typeof openNbd>>): Promise<unknown[]> {
  const extents = await Array.fromAsync(disk.extents(0, disk.virtualSizeBytes));
  return extents.map(({ offsetBytes, lengthBytes, kind }) => [offsetBytes, lengthBytes, kind]);
}

test('any range of a disk that we serve is what the disk holds, and its extents are true', async (context) => {
  await fc.assert(
    fc.asyncProperty(
      sparseDisks(3_000_000),
      fc.array(fc.tuple(fc.nat(), fc.nat(400_000)), { minLength: 1, maxLength: 8 }),
      async (disk, ranges) => {
        const bytes = await diskBytes(disk);
        const { address, server } = await served(context, disk);
        const remote = await openNbd(address);
        await Promise.all(
          ranges.map(async ([at, length]) => {
            const from = at % bytes.length;
            const part = new Uint8Array(Math.min(length, bytes.length - from)).fill(0xee);
            await remote.read(from, part);
            assertSameBytes(part, bytes.subarray(from, from + part.length));
          }),
        );
        await assertExtentsTellTheTruth(remote);
        await remote.close();
        await server.close();
      },
    ),
    { numRuns: 40 },
  );
});

test('exports of qemu-nbd are read, with their extents', async (context) => {
  const folder = await testFolder(context);
  const raw = join(folder, 'disk.raw');
  await writeRaw(raw, 64 * MIB, [
    [MIB, 2 * MIB],
    [40 * MIB, 10 * MIB],
  ]);
  const qcow2 = join(folder, 'disk.qcow2');
  await tool('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2);
  const disk = await opened(context, await qemuNbd(context, '-f', 'qcow2', '--export-name', '', qcow2));
  assert.equal(disk.format, 'nbd');
  assert.deepEqual(await kinds(disk), [
    [0, MIB, 'hole'],
    [MIB, 2 * MIB, 'data'],
    [3 * MIB, 37 * MIB, 'hole'],
    [40 * MIB, 10 * MIB, 'data'],
    [50 * MIB, 14 * MIB, 'hole'],
  ]);
  const source = patternDisk(64 * MIB, [
    [MIB, 2 * MIB],
    [40 * MIB, 10 * MIB],
  ]);
  assert.equal(await diskDigest(disk), await diskDigest(source));
});

test('an export that holds the file of an image is read as such when the caller says so', async (context) => {
  const folder = await testFolder(context);
  const qcow2 = join(folder, 'disk.qcow2');
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', qcow2, '30M');
  await tool('qemu-io', '-f', 'qcow2', '-c', 'write -P 9 5M 1M', qcow2);
  const source = await nbdSource(await qemuNbd(context, '--read-only', '-f', 'raw', qcow2));
  context.after(() => source.close());
  assert.equal(source.disk.format, 'nbd');
  const disk = await openDisk(source, { format: 'qcow2', references: denyReferences });
  assert.equal(disk.virtualSizeBytes, 30 * MIB);
  const byte = new Uint8Array(1);
  await disk.read(5 * MIB, byte);
  assert.equal(byte[0], 9);
});

test('exports of nbdkit are read: memory, pattern, data, without extents, without structure, in blocks', async (context) => {
  const memory = await opened(context, await nbdkit(context, 'memory', '10M'));
  assert.deepEqual(await kinds(memory), [[0, 10 * MIB, 'hole']]);
  const pattern = new Uint8Array(4 * MIB);
  for (let at = 0; at < pattern.length; at += 8) viewOf(pattern).setBigUint64(at, BigInt(at));
  const ways = [
    ['pattern', '4M'],
    ['--filter=noextents', 'pattern', '4M'],
    ['--no-sr', 'pattern', '4M'],
    ['--newstyle', '--mask-handshake=0', 'pattern', '4M'],
    ['--filter=blocksize-policy', 'pattern', '4M', 'blocksize-minimum=4096', 'blocksize-error-policy=error'],
    [
      '--filter=blocksize-policy',
      'pattern',
      '4M',
      'blocksize-minimum=512',
      'blocksize-maximum=65536',
      'blocksize-preferred=4096',
      'blocksize-error-policy=error',
    ],
    ['--filter=delay', 'pattern', '4M', 'delay-read=5ms'],
  ];
  for (const way of ways) {
    const disk = await opened(context, await nbdkit(context, ...way));
    assertSameBytes(await diskBytes(disk), pattern, way.join(' '));
    const part = new Uint8Array(5000);
    await disk.read(1_000_001, part);
    assertSameBytes(part, pattern.subarray(1_000_001, 1_005_001), way.join(' '));
    assert.deepEqual(await kinds(disk), [[0, 4 * MIB, 'data']]);
  }
  const data = await opened(context, await nbdkit(context, 'data', 'size=1M', '@0x8000 "gantry"*1000'));
  const bytes = await diskBytes(data);
  assert.equal(Buffer.from(bytes.subarray(0x8000, 0x8000 + 12)).toString(), 'gantrygantry');
  await assertExtentsTellTheTruth(data);
});

test('what a server refuses or fails at is told as what it is', async (context) => {
  const failing = await opened(
    context,
    await nbdkit(context, '--filter=error', 'pattern', '1M', 'error-pread=EIO', 'error-pread-rate=100%'),
  );
  await assert.rejects(failing.read(0, new Uint8Array(512)), { code: 'STORE_IO', message: /EIO/ });
  const denying = await opened(
    context,
    await nbdkit(context, '--filter=error', 'pattern', '1M', 'error-pread=EPERM', 'error-pread-rate=100%'),
  );
  await assert.rejects(denying.read(0, new Uint8Array(512)), { code: 'STORE_DENIED' });
  // Extents that cannot be had are data.
  const mapless = await opened(
    context,
    await nbdkit(context, '--filter=error', 'pattern', '1M', 'error-extents=EIO', 'error-extents-rate=100%'),
  );
  assert.deepEqual(await kinds(mapless), [[0, MIB, 'data']]);
  const folder = await testFolder(context);
  const raw = join(folder, 'disk.raw');
  await writeRaw(raw, 1000, []);
  const named = await qemuNbd(context, '-f', 'raw', '--export-name', 'one', raw);
  await assert.rejects(openNbd(named), { code: 'STORE_NOT_FOUND' });
  const disk = await openNbd(named.replace(':///', ':///one'));
  assert.ok(disk.virtualSizeBytes >= 1000);
  await disk.close();
  await assert.rejects(openNbd(`nbd+unix:///?socket=${folder}/nobody`), { code: 'STORE_UNREACHABLE' });
  const old = await nbdkit(context, '--oldstyle', 'memory', '1M');
  await assert.rejects(openNbd(old), { code: 'STORE_REFUSED', message: /old handshake/ });
});

test('an address that cannot be one is refused', async () => {
  for (const address of [
    'nbds://host/x',
    'nbd+unix:///x',
    'nbd+unix://host/x?socket=/a',
    'nbd://host/x?socket=/a',
    'nbd://host/x?tls-type=anon',
    'nbd://user@host/x',
    'nbd:///x',
    'nbd+vsock:///x',
    'nbd://host/%ff',
    'http://host/',
  ]) {
    await assert.rejects(openNbd(address), { code: 'STORE_REFUSED' }, address);
  }
});

test('reads end when they are aborted, and the others go on', async (context) => {
  const [begun, allowed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const inner = patternDisk(4 * MIB, [[0, 4 * MIB]]);
  const { address } = await served(context, {
    ...inner,
    async read(offset, into) {
      if (offset >= 2 * MIB) {
        begun.resolve();
        await allowed.promise;
      }
      await inner.read(offset, into);
    },
  });
  const disk = await opened(context, address);
  const controller = new AbortController();
  const memory = new Uint8Array(MIB).fill(0xee);
  const aborted = disk.read(3 * MIB, memory, controller.signal);
  const reason = new Error('enough');
  const rejected = assert.rejects(aborted, reason);
  await begun.promise;
  controller.abort(reason);
  await rejected;
  allowed.resolve();
  const part = new Uint8Array(MIB);
  await disk.read(MIB, part);
  await disk.read(3 * MIB, new Uint8Array(1));
  assertSameBytes(part, (await diskBytes(inner)).subarray(MIB, 2 * MIB));
  assert.ok(memory.every((byte) => byte === 0xee));
  await assert.rejects(disk.read(0, part, AbortSignal.abort(reason)), reason);
});

/** A server that greets, answers the handshake of one export of 1 MiB by name, then every request as it is told. */
async function lyingServer(
  context: TestContext,
  answer: (cookie: bigint) => readonly Uint8Array[],
): Promise<string> {
  const path = join(await testFolder(context), 'nbd.sock');
  const server = createServer((socket) => {
    const greeting = new Uint8Array(18);
    viewOf(greeting).setBigUint64(0, NBDMAGIC);
    viewOf(greeting).setBigUint64(8, IHAVEOPT);
    // Fixed newstyle and no zeroes.
    viewOf(greeting).setUint16(16, 3);
    socket.write(greeting);
    socket.on('error', () => {});
    let received: Buffer = Buffer.alloc(0);
    let step = 0;
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (step === 0 && received.length >= 4) {
        received = received.subarray(4);
        step = 1;
      }
      while (step === 1 && received.length >= 16) {
        const lengthBytes = received.readUInt32BE(12);
        const option = received.readUInt32BE(8);
        received = received.subarray(16 + lengthBytes);
        const head = Buffer.alloc(20);
        head.writeBigUInt64BE(0x3e889045565a9n, 0);
        head.writeUInt32BE(option, 8);
        // Structured replies: yes. The others are not known.
        head.writeUInt32BE(option === 8 ? 1 : 0x80000001, 12);
        if (option !== 1) socket.write(head);
        else {
          step = 2;
          socket.write(Buffer.concat([Buffer.from('0000000000100000', 'hex'), uint16(1)]));
        }
      }
      while (step === 2 && received.length >= REQUEST_BYTES) {
        const cookie = received.readBigUInt64BE(8);
        received = received.subarray(REQUEST_BYTES);
        for (const part of answer(cookie)) socket.write(part);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  context.after(() => server.close());
  return `nbd+unix:///?socket=${path}`;
}

function dataChunk(cookie: bigint, offset: number, data: Uint8Array, isLast: boolean): Uint8Array {
  const view = chunkBytes(cookie, CHUNK.offsetData, isLast, 8 + data.length);
  view.setBigUint64(20, BigInt(offset));
  const bytes = new Uint8Array(view.buffer);
  bytes.set(data, 28);
  return bytes;
}

test('chunks come in any order', async (context) => {
  const address = await lyingServer(context, (cookie) => [
    dataChunk(cookie, 300, new Uint8Array(100).fill(4), false),
    dataChunk(cookie, 0, new Uint8Array(100).fill(1), false),
    dataChunk(cookie, 200, new Uint8Array(100).fill(3), false),
    dataChunk(cookie, 100, new Uint8Array(100).fill(2), true),
  ]);
  const disk = await opened(context, address);
  const into = new Uint8Array(400);
  await disk.read(0, into);
  assert.deepEqual([into[0], into[100], into[200], into[399]], [1, 2, 3, 4]);
});

test('a server that lies is left', async (context) => {
  const hundred = new Uint8Array(100);
  const none = (cookie: bigint, isLast: boolean) =>
    new Uint8Array(chunkBytes(cookie, CHUNK.none, isLast, 0).buffer);
  const lies: readonly ((cookie: bigint) => readonly Uint8Array[])[] = [
    // Too little, twice the same, outside, more than asked for.
    (cookie) => [dataChunk(cookie, 0, hundred, true)],
    (cookie) => [dataChunk(cookie, 0, hundred, false), dataChunk(cookie, 50, hundred, false)],
    (cookie) => [dataChunk(cookie, 1000, hundred, true)],
    (cookie) => [dataChunk(cookie, 0, new Uint8Array(1000), true)],
    (cookie) => [none(cookie, true)],
    (cookie) => [none(cookie, false)],
    // For nobody, of no kind, without a mark, of a wrong length.
    (cookie) => [none(cookie + 1n, true)],
    (cookie) => [new Uint8Array(chunkBytes(cookie, 77, true, 0).buffer)],
    () => [new Uint8Array(20)],
    (cookie) => [new Uint8Array(chunkBytes(cookie, CHUNK.offsetHole, true, 4).buffer)],
    (cookie) => [new Uint8Array(chunkBytes(cookie, CHUNK.error, true, 2).buffer)],
    (cookie) => [new Uint8Array(chunkBytes(cookie, CHUNK.blockStatus, true, 12).buffer)],
  ];
  for (const lie of lies) {
    const disk = await openNbd(await lyingServer(context, lie));
    await assert.rejects(disk.read(0, new Uint8Array(200)), { code: 'STORE_REFUSED' });
    await assert.rejects(disk.read(0, new Uint8Array(200)), { code: 'STORE_REFUSED' });
    await disk.close();
  }
  const silent = await openNbd(await lyingServer(context, () => []), { idleTimeoutMs: 100 });
  await assert.rejects(silent.read(0, new Uint8Array(1)), { code: 'STORE_UNREACHABLE' });
  await silent.close();
});
