import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Disk } from '../../disk/disk.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { patternDisk, planLayout, testFolder, tool } from '../../formats/images.testkit.ts';
import { openDisk } from '../../formats/open.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { httpSource } from '../../io/http-range.ts';
import { fileSink, fileSource } from '../../io/node-file.ts';
import type { Layout } from '../../view/layout.ts';
import { viewOfLayout } from '../../view/view.ts';
import { oci } from './format.ts';

const GIB = 2 ** 30;
const dataBytes = 9 * GIB + 300_000;
const disk = patternDisk(12 * GIB, [[GIB, dataBytes]]);
const references = denyReferences;
const PART_BYTES = 65_536;
/** Guest offsets around what is special: the start and end of the data, 4 GiB and 8 GiB of the file. */
const places = [0, GIB, 4 * GIB, 8 * GIB, 9 * GIB, GIB + dataBytes - PART_BYTES, 12 * GIB - PART_BYTES];

/** The archive with all of its metadata, and of the data only what stands at some places. */
async function writeSparsely(path: string, layout: Layout): Promise<void> {
  const sink = await fileSink(path);
  let at = 0;
  for (const piece of layout.pieces(0, layout.lengthBytes)) {
    if (piece.kind === 'bytes') await sink.write(at, piece.bytes);
    else if (piece.kind === 'disk') {
      for (const place of places) {
        const from = Math.max(place, piece.offsetBytes);
        const to = Math.min(place + PART_BYTES, piece.offsetBytes + piece.lengthBytes);
        if (from >= to) continue;
        const part = new Uint8Array(to - from);
        await disk.read(from, part);
        await sink.write(at + from - piece.offsetBytes, part);
      }
    }
    at += piece.kind === 'bytes' ? piece.bytes.length : piece.lengthBytes;
  }
  await sink.finish(layout.lengthBytes);
}

async function partOf(source: Disk | ByteSource, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
  const bytes = Buffer.alloc(lengthBytes);
  await source.read(offsetBytes, bytes);
  return bytes;
}

test('an archive whose disk is above 8 GiB is listed by GNU tar and bsdtar, and read back', async (context) => {
  const path = join(await testFolder(context), 'large.oci');
  const layout = await planLayout(oci, disk);
  assert.ok(layout.lengthBytes > 9 * GIB);
  await writeSparsely(path, layout);
  const listed = new Map<string, number>();
  for (const program of ['tar', 'bsdtar']) {
    const lines = (await tool(program, '-tvf', path)).trim().split('\n');
    assert.equal(lines.length, 2);
    for (const line of lines) {
      const words = line.split(/\s+/);
      const name = words.at(-1) ?? '';
      const size = Number(words[program === 'tar' ? 2 : 4]);
      assert.equal(listed.get(name) ?? size, size, `${program} sees the size that the other saw`);
      listed.set(name, size);
    }
  }
  assert.deepEqual([...listed.keys()], ['image_metadata.json', 'output.QCOW2']);
  const imageBytes = listed.get('output.QCOW2') ?? 0;
  assert.ok(imageBytes > 9 * GIB && imageBytes < layout.lengthBytes, `${imageBytes}`);

  const source = await fileSource(path);
  const opened = await openDisk(source, { references });
  assert.equal(opened.virtualSizeBytes, disk.virtualSizeBytes);
  assert.deepEqual(opened.warnings, []);
  for (const place of places) {
    assert.ok(
      (await partOf(opened, place, PART_BYTES)).equals(await partOf(disk, place, PART_BYTES)),
      `${place}`,
    );
  }
  const report = await oci.check?.(source, { references });
  assert.deepEqual(report?.findings, []);
  await source.close();
});

/** Answers ranges of a view, as any store of objects does. */
async function served(view: ByteSource): Promise<Server> {
  const server = createServer(async ({ headers: { range = '' } }, response) => {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
    const from = Number(first);
    const end = Math.min(Number(last) + 1, view.lengthBytes);
    response.writeHead(206, {
      ETag: '"1"',
      'Content-Length': end - from,
      'Content-Range': `bytes ${from}-${end - 1}/${view.lengthBytes}`,
    });
    response.end(await partOf(view, from, end - from));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

test('an archive above 8 GiB that nobody wrote is served by ranges, and opened from there', async (context) => {
  const view = viewOfLayout(await planLayout(oci, disk), disk);
  const server = await served(view);
  context.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const address = `http://127.0.0.1:${port}/large.oci`;
  const answer = async (from: number, lengthBytes: number) => {
    const headers = { range: `bytes=${from}-${from + lengthBytes - 1}` };
    return Buffer.from(await (await fetch(address, { headers })).arrayBuffer());
  };
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: view.lengthBytes - 1 }), fc.nat({ max: 200_000 }), async (from, more) => {
      const lengthBytes = Math.min(1 + more, view.lengthBytes - from);
      // Put together from two reads, so that a range has to be the slice of one whole.
      const cut = Math.floor(lengthBytes / 3);
      const parts = [await partOf(view, from, cut), await partOf(view, from + cut, lengthBytes - cut)];
      assert.ok((await answer(from, lengthBytes)).equals(Buffer.concat(parts)));
    }),
    { numRuns: 30 },
  );
  const source = await httpSource(address);
  const opened = await openDisk(source, { references });
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: disk.virtualSizeBytes - 100_000 }), async (at) => {
      assert.ok((await partOf(opened, at, 100_000)).equals(await partOf(disk, at, 100_000)));
    }),
    { numRuns: 15 },
  );
  await opened.close();
  await source.close();
});
