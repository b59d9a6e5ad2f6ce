// node serve.ts vm.qcow2 8080: a VDI that does not exist, by ranges
import { createServer } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { denyReferences, fileSource, openDisk, planImage, viewOfLayout } from '@gantry/disk';

const [, , path = 'vm.qcow2', port = '0'] = process.argv;
const disk = await openDisk(await fileSource(path), { references: denyReferences });
const plan = await planImage(disk, { format: 'vdi' });
if (plan.kind !== 'layout') throw new Error('this form has no length before it is written');
const view = viewOfLayout(plan, disk);

async function* bytes(from: number, end: number) {
  for (let at = from; at < end; at += 2 ** 20) {
    const part = new Uint8Array(Math.min(2 ** 20, end - at));
    await view.read(at, part);
    yield part;
  }
}

const server = createServer(async (request, response) => {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const from = Number(first ?? 0);
  const end = Math.min(last ? Number(last) + 1 : view.lengthBytes, view.lengthBytes);
  if (from >= end) return response.writeHead(416, { 'Content-Range': `bytes */${view.lengthBytes}` }).end();
  response.writeHead(first === undefined ? 200 : 206, {
    'Accept-Ranges': 'bytes',
    'Content-Length': end - from,
    ...(first !== undefined && { 'Content-Range': `bytes ${from}-${end - 1}/${view.lengthBytes}` }),
  });
  await pipeline(bytes(from, end), response).catch(() => {});
});
server.listen(Number(port), '127.0.0.1', () => console.log(server.address()));
