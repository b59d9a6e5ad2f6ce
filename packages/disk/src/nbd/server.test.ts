import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { convert } from '../convert/convert.ts';
import type { Disk } from '../disk/disk.ts';
import { denyReferences } from '../disk/reference-gate.ts';
import { StoreError } from '../errors.ts';
import { patternDisk, testFolder, tool, writeRaw } from '../formats/images.testkit.ts';
import { openDisk } from '../formats/open.ts';
import { memorySink, memorySource } from '../io/memory.ts';
import { fileSource } from '../io/node-file.ts';
import { nbdSource } from './client.ts';
import { served } from './nbd.testkit.ts';
import { serveNbd } from './server.ts';

const MIB = 2 ** 20;
const SIZE_BYTES = 40 * MIB;
const RUNS = [
  [0, 512],
  [3 * MIB, 2 * MIB],
  [9 * MIB + 512, 65_536],
  [20 * MIB, 5 * MIB],
  [SIZE_BYTES - 1000, 1000],
] as const;

async function rawFile(context: TestContext): Promise<string> {
  const path = join(await testFolder(context), 'disk.raw');
  await writeRaw(path, SIZE_BYTES, RUNS);
  return path;
}

const forms: Readonly<Record<string, (raw: string) => Promise<Disk>>> = {
  qcow2: (raw) => byQemu(raw, 'qcow2'),
  'qcow2, compressed': (raw) => byQemu(raw, 'qcow2', '-c'),
  'streamOptimized VMDK': (raw) => byQemu(raw, 'vmdk', '-o', 'subformat=streamOptimized'),
  VHDX: (raw) => byQemu(raw, 'vhdx'),
  '.oci': () => byUs('oci'),
};

async function byQemu(raw: string, format: string, ...options: readonly string[]): Promise<Disk> {
  const path = `${raw}.${format}`;
  await tool('qemu-img', 'convert', '-f', 'raw', '-O', format, ...options, raw, path);
  return openDisk(await fileSource(path), { references: denyReferences });
}

async function byUs(format: string): Promise<Disk> {
  const sink = memorySink();
  await convert(patternDisk(SIZE_BYTES, RUNS), sink, { format });
  return openDisk(memorySource(sink.bytes()), { references: denyReferences });
}

test('other clients read the disk of an image of any format', async (context) => {
  const raw = await rawFile(context);
  for (const [name, make] of Object.entries(forms)) {
    const disk = await make(raw);
    context.after(() => disk.close());
    const { address } = await served(context, disk);
    assert.match(await tool('qemu-img', 'compare', '-f', 'raw', address, raw), /identical/, name);
    const copy = `${raw}.copy`;
    await tool('nbdcopy', address, copy);
    await tool('cmp', copy, raw);
    await tool('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', address, copy);
    assert.match(await tool('qemu-img', 'compare', copy, raw), /identical/, name);
    assert.equal((await tool('nbdinfo', '--size', address)).trim(), String(disk.virtualSizeBytes), name);
  }
});

test('holes, zeros and data are told apart', async (context) => {
  const folder = await testFolder(context);
  const path = join(folder, 'disk.qcow2');
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', path, '16M');
  await tool('qemu-io', '-f', 'qcow2', '-c', 'write -P 3 1M 2M', '-c', 'write -z 3M 1M', path);
  const disk = await openDisk(await fileSource(path), { references: denyReferences });
  context.after(() => disk.close());
  const { address } = await served(context, disk);
  const map = JSON.parse(await tool('nbdinfo', '--json', '--map', address));
  assert.deepEqual(
    map.map(({ offset, length, type }: Record<string, number>) => [offset, length, type]),
    [
      [0, MIB, 3],
      [MIB, 2 * MIB, 0],
      [3 * MIB, MIB, 2],
      [4 * MIB, 12 * MIB, 3],
    ],
  );
  const seen = JSON.parse(await tool('qemu-img', 'map', '-f', 'raw', '--output=json', address));
  assert.deepEqual(
    seen.map((each: Record<string, unknown>) => [each.start, each.length, each.zero, each.data]),
    [
      [0, MIB, true, false],
      [MIB, 2 * MIB, false, true],
      [3 * MIB, MIB, true, true],
      [4 * MIB, 12 * MIB, true, false],
    ],
  );
});

test('a server tells what it serves, and knows no other export', async (context) => {
  const path = join(await testFolder(context), 'nbd.sock');
  const disk = patternDisk(1000, []);
  const exports = [
    { name: 'first', description: 'ein Gerät', disk },
    { name: 'zweites/Gerät', disk: patternDisk(5000, []) },
  ];
  const server = await serveNbd({ address: { kind: 'unix', path }, exports });
  context.after(() => server.close());
  const listed = JSON.parse(await tool('nbdinfo', '--json', '--list', `nbd+unix:///?socket=${path}`));
  assert.deepEqual(
    listed.exports.map((each: Record<string, unknown>) => [
      each['export-name'],
      each.description,
      each['export-size'],
      each.is_read_only,
      each.can_multi_conn,
      each.can_df,
      each.contexts,
    ]),
    [
      ['first', 'ein Gerät', 1000, true, true, true, ['base:allocation']],
      ['zweites/Gerät', undefined, 5000, true, true, true, ['base:allocation']],
    ],
  );
  await assert.rejects(
    tool('nbdinfo', `nbd+unix:///other?socket=${path}`),
    /No such file or directory for export: other/,
  );
});

test('a client without structured replies, one by name alone and one that wants no fragments read the same', async (context) => {
  const disk = patternDisk(4 * MIB, [[MIB, MIB]]);
  const want = new Uint8Array(4 * MIB);
  await disk.read(0, want);
  const { socket } = await served(context, disk);
  const script = `
import nbd, sys
def connected(setup):
    h = nbd.NBD()
    setup(h)
    h.connect_unix(sys.argv[1])
    return h
out = sys.stdout.buffer
for setup in (lambda h: h.set_request_structured_replies(False), lambda h: h.set_handshake_flags(0),
              lambda h: h.set_handshake_flags(nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE), lambda h: None):
    out.write(connected(setup).pread(4 << 20, 0))
chunks = []
h = connected(lambda h: None)
out.write(h.pread_structured(4 << 20, 0, lambda data, *rest: chunks.append(len(data)), nbd.CMD_FLAG_DF))
assert chunks == [4 << 20], chunks
h.pread_structured(1 << 20, 2 << 20, lambda data, offset, kind, error: chunks.append(kind), nbd.CMD_FLAG_DF)
assert chunks[1:] == [nbd.READ_HOLE], chunks`;
  const { stdout } = await promisify(execFile)('/usr/bin/python3', ['-c', script, socket], {
    encoding: 'buffer',
    maxBuffer: 32 * MIB,
  });
  assert.equal(stdout.length, 5 * want.length);
  for (let at = 0; at < stdout.length; at += want.length) {
    assert.equal(stdout.compare(want, 0, want.length, at, at + want.length), 0);
  }
});

test('what cannot be done is answered with its error, and the connection goes on', async (context) => {
  const disk = patternDisk(MIB, []);
  const { socket } = await served(context, disk);
  const script = `
import nbd, sys
h = nbd.NBD()
h.add_meta_context("base:allocation")
h.set_strict_mode(0)
h.connect_unix(sys.argv[1])
def attempt(name, work):
    try:
        work()
        print(name, "ok")
    except nbd.Error as error:
        print(name, error.errno)
attempt("write", lambda: h.pwrite(b"x" * 100, 0))
attempt("zero", lambda: h.zero(100, 0))
attempt("trim", lambda: h.trim(100, 0))
attempt("write behind the end", lambda: h.pwrite(b"x" * 100, (1 << 20) - 50))
attempt("read behind the end", lambda: h.pread(100, (1 << 20) - 50))
attempt("read far behind the end", lambda: h.pread(100, (1 << 63) - 1))
attempt("status behind the end", lambda: h.block_status(100, 1 << 20, lambda *args: 0))
attempt("unknown flag", lambda: h.flush(flags=nbd.CMD_FLAG_DF))
attempt("cache", lambda: h.cache(4096, 0))
attempt("flush", lambda: h.flush())
attempt("empty read", lambda: h.pread(0, 0))
attempt("too long a read", lambda: h.pread((32 << 20) + 1, 0))
attempt("read", lambda: h.pread(4096, 0))
h.shutdown()`;
  assert.deepEqual((await tool('/usr/bin/python3', '-c', script, socket)).trim().split('\n'), [
    'write EPERM',
    'zero EPERM',
    'trim EPERM',
    'write behind the end EPERM',
    'read behind the end EINVAL',
    'read far behind the end EINVAL',
    'status behind the end EINVAL',
    'unknown flag EINVAL',
    'cache ok',
    'flush ok',
    'empty read ok',
    'too long a read EINVAL',
    'read ok',
  ]);
});

test('a disk that cannot be read there fails that read, is told to who serves it, and the rest is read', async (context) => {
  const good = patternDisk(4 * MIB, [[0, 4 * MIB]]);
  const broken = new StoreError('STORE_IO', 'a bad sector', { where: '/secret/place' });
  const disk: Disk = {
    ...good,
    async read(offset, into) {
      if (offset < 3 * MIB && offset + into.length > 2 * MIB) throw broken;
      await good.read(offset, into);
    },
  };
  const errors: unknown[] = [];
  const { socket } = await served(context, disk, undefined, { onError: (error) => errors.push(error) });
  const script = `
import nbd, sys
for structured in (True, False):
    h = nbd.NBD()
    h.set_request_structured_replies(structured)
    h.connect_unix(sys.argv[1])
    try:
        h.pread(4 << 20, 0)
    except nbd.Error as error:
        print(error.errno)
    print(len(h.pread(1 << 20, 3 << 20)))
    h.shutdown()`;
  assert.equal(await tool('/usr/bin/python3', '-c', script, socket), 'EIO\n1048576\nEIO\n1048576\n');
  assert.deepEqual(errors, [broken, broken]);
});

test('a server listens where nobody else does, at TCP ports too, and takes the place of one that was killed', async (context) => {
  const disk = patternDisk(1000, []);
  const exports = [{ name: '', disk }];
  const { socket } = await served(context, disk);
  await assert.rejects(serveNbd({ address: { kind: 'unix', path: socket }, exports }), {
    code: 'STORE_EXISTS',
  });
  const folder = await testFolder(context);
  const left = join(folder, 'left.sock');
  await tool(
    '/usr/bin/python3',
    '-c',
    'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])',
    left,
  );
  const second = await serveNbd({ address: { kind: 'unix', path: left }, exports });
  assert.equal((await tool('nbdinfo', '--size', `nbd+unix:///?socket=${left}`)).trim(), '1000');
  await second.close();
  const tcp = await serveNbd({ address: { kind: 'tcp', host: '127.0.0.1', port: 0 }, exports });
  context.after(() => tcp.close());
  assert.equal(tcp.address.kind, 'tcp');
  const port = tcp.address.kind === 'tcp' ? tcp.address.port : 0;
  assert.equal((await tool('nbdinfo', '--size', `nbd://127.0.0.1:${port}`)).trim(), '1000');
  await assert.rejects(serveNbd({ address: tcp.address, exports }), { code: 'STORE_EXISTS' });
});

test('exports come and go while the server listens; who reads one that goes is let go of', async (context) => {
  const [first, second] = [patternDisk(MIB, [[0, 4096]]), patternDisk(2 * MIB, [[MIB, 4096]])];
  const { server, socket } = await served(context, first);
  server.add({ name: 'second', disk: second });
  const reader = await nbdSource(`nbd+unix:///second?socket=${socket}`);
  assert.equal(reader.lengthBytes, 2 * MIB);
  const bytes = new Uint8Array(4096);
  await reader.read(MIB, bytes);
  assert.ok(bytes.some((byte) => byte !== 0));
  await server.remove('second');
  await server.remove('second');
  await assert.rejects(async () => reader.read(0, bytes), StoreError);
  await reader.close();
  await assert.rejects(nbdSource(`nbd+unix:///second?socket=${socket}`), StoreError);
  await (await nbdSource(`nbd+unix:///?socket=${socket}`)).close();
});
