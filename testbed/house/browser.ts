import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import { text } from 'node:stream/consumers';

const types: Readonly<Record<string, string>> = { '.js': 'text/javascript', '.html': 'text/html' };

/**
 * Serves a folder by ranges to a headless Chromium, opens a page of it there, and gives what the page posts to
 * `/result` as JSON. Throws when the browser ends before that.
 */
export async function resultOfPage(folder: string, page: string, signal: AbortSignal): Promise<unknown> {
  const posted = Promise.withResolvers<unknown>();
  const server = createServer((request, response) => {
    if (request.method === 'POST') {
      text(request).then((body) => posted.resolve(JSON.parse(body)), posted.reject);
      response.end();
    } else answerFile(folder, request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const profile = mkdtempSync(join(tmpdir(), 'gantry-browser-'));
  const browser = spawn(
    'chromium',
    [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      `--user-data-dir=${profile}`,
      `http://127.0.0.1:${port}/${page}`,
    ],
    { stdio: 'ignore' },
  );
  const ended = once(browser, 'exit');
  const late = once(signal, 'abort');
  try {
    return await Promise.race([
      posted.promise,
      ended.then(([code]) => Promise.reject(new Error(`the browser ended with ${code}`))),
      late.then(() => Promise.reject(signal.reason)),
    ]);
  } finally {
    browser.kill();
    await ended;
    server.closeAllConnections();
    server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

function answerFile(folder: string, request: IncomingMessage, response: ServerResponse): void {
  const path = join(folder, normalize(new URL(request.url ?? '/', 'http://x').pathname));
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found?.isFile()) {
    response.writeHead(404).end();
    return;
  }
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const start = Number(first ?? 0);
  const end = last ? Math.min(Number(last), found.size - 1) : found.size - 1;
  response.writeHead(first === undefined ? 200 : 206, {
    'Content-Type': types[extname(path)] ?? 'application/octet-stream',
    'Content-Length': end - start + 1,
    ETag: '"1"',
    ...(first !== undefined && { 'Content-Range': `bytes ${start}-${end}/${found.size}` }),
  });
  createReadStream(path, { start, end }).pipe(response);
}
