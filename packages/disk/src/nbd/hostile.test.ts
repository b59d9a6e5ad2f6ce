import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { utf8Bytes, viewOf } from '../bytes/fields.ts';
import type { Disk } from '../disk/disk.ts';
import { patternDisk } from '../formats/images.testkit.ts';
import { openNbd } from './client.ts';
import { CONNECTION_BYTES_MAX, CONNECTION_COUNT_MAX, REQUEST_COUNT_MAX } from './limits.ts';
import { RawClient, served } from './nbd.testkit.ts';
import { COMMAND, joined, OPTION, optionBytes, REPLY, requestBytes, uint16, uint32 } from './protocol.ts';

const MIB = 2 ** 20;
const GREETING_BYTES = 18;

/** A connection that has sent its flags. */
async function greeted(context: TestContext, socket: string): Promise<RawClient> {
  const client = await RawClient.open(context, socket);
  assert.equal((await client.receive(GREETING_BYTES)).toString('latin1', 0, 16), 'NBDMAGICIHAVEOPT');
  client.send(uint32(3));
  return client;
}

async function reply(client: RawClient): Promise<{ type: number; text: string }> {
  const header = viewOf(await client.receive(20));
  const data = await client.receive(header.getUint32(16));
  return { type: header.getUint32(12), text: data.toString('latin1') };
}

/** A connection in its transmission phase. */
async function transmitting(context: TestContext, socket: string): Promise<RawClient> {
  const client = await greeted(context, socket);
  client.send(optionBytes(OPTION.structuredReply, new Uint8Array(0)));
  await reply(client);
  client.send(optionBytes(OPTION.exportName, new Uint8Array(0)));
  await client.receive(10);
  return client;
}

const read = (cookie: number, offset: number, lengthBytes: number) =>
  requestBytes({ flags: 0, type: COMMAND.read, cookie: BigInt(cookie), offset: BigInt(offset), lengthBytes });

/** It still answers others. */
async function assertServes(address: string, sizeBytes: number): Promise<void> {
  const disk = await openNbd(address);
  assert.equal(disk.virtualSizeBytes, sizeBytes);
  await disk.close();
}

test('options that are not in order are answered, or end the connection', async (context) => {
  const { socket, address } = await served(context, patternDisk(MIB, []));
  const client = await greeted(context, socket);
  const meta = (...parts: readonly Uint8Array[]) => optionBytes(OPTION.setMetaContext, joined(...parts));
  const ask = async (bytes: Uint8Array) => {
    client.send(bytes);
    return (await reply(client)).type;
  };
  const none = new Uint8Array(0);
  assert.equal(await ask(optionBytes(4711, utf8Bytes('what?'))), REPLY.errUnsupported);
  assert.equal(await ask(optionBytes(OPTION.startTls, none)), REPLY.errPolicy);
  assert.equal(await ask(optionBytes(OPTION.list, uint32(1))), REPLY.errInvalid);
  assert.equal(await ask(optionBytes(OPTION.structuredReply, uint32(1))), REPLY.errInvalid);
  assert.equal(await ask(meta(uint32(0), uint32(0))), REPLY.errInvalid);
  assert.equal(await ask(optionBytes(OPTION.structuredReply, none)), REPLY.ack);
  for (const broken of [
    meta(),
    meta(uint32(0xffffffff)),
    meta(uint32(0), uint32(0xffffffff)),
    meta(uint32(0), uint32(1), uint32(100)),
    meta(uint32(0), uint32(0), uint32(0)),
  ]) {
    assert.equal(await ask(broken), REPLY.errInvalid);
  }
  assert.equal(await ask(meta(uint32(1), utf8Bytes('x'), uint32(0))), REPLY.errUnknown);
  for (const broken of [
    none,
    uint32(0xffffffff),
    joined(uint32(0), uint16(9)),
    joined(uint32(5), uint16(0)),
  ]) {
    assert.equal(await ask(optionBytes(OPTION.go, broken)), REPLY.errInvalid);
  }
  assert.equal(await ask(optionBytes(99, new Uint8Array(100_000))), REPLY.errTooBig);
  assert.equal(await ask(optionBytes(OPTION.abort, none)), REPLY.ack);
  assert.equal((await client.rest()).length, 0);
  await assertServes(address, MIB);
});

test('a client that is not one is disconnected', async (context) => {
  const { socket, address } = await served(context, patternDisk(MIB, []));
  const openings: readonly Uint8Array[] = [
    utf8Bytes('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    uint32(0xffffffff),
    joined(uint32(3), utf8Bytes('no option at all')),
    joined(uint32(3), optionBytes(OPTION.exportName, utf8Bytes('other'))),
    joined(uint32(3), optionBytes(OPTION.exportName, new Uint8Array(0)), new Uint8Array(28)),
    joined(uint32(3), optionBytes(OPTION.exportName, new Uint8Array(0)).subarray(0, 12), uint32(0xffffffff)),
  ];
  for (const opening of openings) {
    const client = await RawClient.open(context, socket);
    client.send(opening);
    assert.ok((await client.rest()).length >= GREETING_BYTES);
  }
  const talker = await greeted(context, socket);
  for (let i = 0; i < 300; i++) talker.send(optionBytes(OPTION.startTls, new Uint8Array(0)));
  await talker.rest();
  await assertServes(address, MIB);
});

test('a client that never chooses is disconnected, one that goes in the middle of anything is forgotten', async (context) => {
  const { socket, address } = await served(context, patternDisk(MIB, []), undefined, { handshakeMs: 200 });
  const silent = await RawClient.open(context, socket);
  await silent.rest();
  const half = await transmitting(context, socket);
  half.send(read(1, 0, 4096).subarray(0, 20));
  half.end();
  await half.rest();
  const gone = await transmitting(context, socket);
  gone.send(read(1, 0, MIB), read(2, 0, MIB));
  gone.destroy();
  await assertServes(address, MIB);
});

test('a half-closed client still gets what it asked for', async (context) => {
  const { socket } = await served(context, patternDisk(MIB, [[0, MIB]]));
  const client = await transmitting(context, socket);
  client.send(read(7, 0, MIB));
  client.end();
  assert.equal((await client.rest()).length, 20 + 8 + MIB);
});

test('random bytes in the transmission phase never stop the server', async (context) => {
  const { socket, address } = await served(context, patternDisk(MIB, [[0, MIB]]));
  const request = fc
    .record({
      flags: fc.nat(0xffff),
      type: fc.oneof(fc.nat(9), fc.nat(0xffff)),
      cookie: fc.bigInt(0n, 2n ** 64n - 1n),
      offset: fc.oneof(fc.bigInt(0n, BigInt(MIB)), fc.bigInt(0n, 2n ** 64n - 1n)),
      lengthBytes: fc.oneof(fc.nat(70_000), fc.nat(2 ** 31 - 1)),
    })
    .map(requestBytes);
  const noise = fc.uint8Array({ maxLength: 100 });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(request, noise), { maxLength: 20 }), async (parts) => {
      const client = await transmitting(context, socket);
      client.send(...parts);
      client.end();
      await client.rest();
    }),
    { numRuns: 60 },
  );
  await assertServes(address, MIB);
});

test('a client that asks and does not read takes no more than its share of memory', async (context) => {
  const pattern = patternDisk(64 * MIB, []);
  let reads = 0;
  let atWorkBytes = 0;
  const disk: Disk = {
    ...pattern,
    async *extents(from, to) {
      yield { offsetBytes: from, lengthBytes: to - from, kind: 'data' };
    },
    async read(_offset, into) {
      reads++;
      atWorkBytes += into.length;
    },
  };
  const { socket, address } = await served(context, disk);
  const client = await transmitting(context, socket);
  client.pause();
  const asked = 150;
  for (let i = 0; i < asked; i++) client.send(read(i, 0, MIB));
  // Others are served as if it were not there; each of their reads lets the server work on what it can.
  for (let i = 0; i < 20; i++) {
    const other = await openNbd(address);
    await other.read(0, new Uint8Array(1000));
    await other.close();
  }
  // The kernel's buffers hold some of what was sent.
  assert.ok(reads < REQUEST_COUNT_MAX, `${reads} reads`);
  assert.ok(atWorkBytes < CONNECTION_BYTES_MAX + 8 * MIB, `${atWorkBytes} bytes`);
  client.resume();
  assert.equal((await client.receive(asked * (28 + MIB))).length, asked * (28 + MIB));
});

test('no more connections are taken than there is memory for', async (context) => {
  const { socket, address } = await served(context, patternDisk(MIB, []));
  const clients: RawClient[] = [];
  for (let i = 0; i < CONNECTION_COUNT_MAX; i++) clients.push(await greeted(context, socket));
  const refused = await RawClient.open(context, socket);
  assert.equal((await refused.rest()).length, 0);
  const [first] = clients;
  first?.end();
  await first?.rest();
  await assertServes(address, MIB);
});

test('a server that is closed answers what is at work and refuses the rest', async (context) => {
  const pattern = patternDisk(MIB, []);
  const [begun, allowed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const disk: Disk = {
    ...pattern,
    async *extents(from, to) {
      yield { offsetBytes: from, lengthBytes: to - from, kind: 'data' };
    },
    async read(_offset, into) {
      begun.resolve();
      await allowed.promise;
      into.fill(9);
    },
  };
  const { socket, server } = await served(context, disk);
  const client = await transmitting(context, socket);
  client.send(read(1, 0, 4096));
  await begun.promise;
  const closing = server.close();
  client.send(read(2, 0, 4096));
  const refusal = await client.receive(20 + 6 + 'the server is stopping'.length);
  assert.equal(viewOf(refusal).getBigUint64(8), 2n);
  assert.equal(viewOf(refusal).getUint32(20), 108);
  allowed.resolve();
  const answer = await client.rest();
  assert.equal(answer.length, 28 + 4096);
  assert.equal(answer.at(-1), 9);
  await closing;
  await assert.rejects(RawClient.open(context, socket));
});
