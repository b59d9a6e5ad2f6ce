import { createReadStream, createWriteStream } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { parentPort, workerData } from 'node:worker_threads';

/** What a transfer costs without a service: PUT writes a file, GET reads it, nothing is checked or synced. */
const file = String(workerData);
const server = createServer(async (request, response) => {
  if (request.method === 'PUT') {
    await pipeline(request, createWriteStream(file, { highWaterMark: 1024 * 1024 }));
    response.end();
  } else {
    await pipeline(createReadStream(file, { highWaterMark: 1024 * 1024 }), response);
  }
});
server.listen(0, '127.0.0.1', () => {
  parentPort?.postMessage(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
});
