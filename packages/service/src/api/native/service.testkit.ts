import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type RunningService, type ServeOptions, serve } from '../../main.ts';

/** A whole service on a folder and a port of its own, for the length of a test. */
export class TestService {
  readonly dataFolder: string;
  #running: RunningService | undefined;
  #token = '';
  readonly #options: Partial<ServeOptions>;

  constructor(dataFolder: string, options: Partial<ServeOptions> = {}) {
    this.dataFolder = dataFolder;
    this.#options = options;
  }

  async start(): Promise<void> {
    const { dataFolder } = this;
    this.#running = await serve({ dataFolder, listen: '127.0.0.1:0', logLevel: 'fatal', ...this.#options });
    const profile = await readFile(this.#running.profilePath, 'utf8');
    this.#token = /^token = "([^"]*)"$/m.exec(profile)?.[1] ?? '';
  }

  async stop(): Promise<void> {
    await this.#running?.stop();
    this.#running = undefined;
  }

  get #root(): string {
    assert.ok(this.#running !== undefined, 'the service runs');
    return `${this.#running.address}/api/v1`;
  }

  /** Sends a request to a path under /api/v1; `json` is a body. */
  call(path: string, init: RequestInit & { json?: unknown } = {}): Promise<Response> {
    const { json, ...rest } = init;
    const headers = new Headers(rest.headers);
    headers.set('authorization', `Bearer ${this.#token}`);
    if (json === undefined) return fetch(`${this.#root}${path}`, { ...rest, headers });
    headers.set('content-type', 'application/json');
    return fetch(`${this.#root}${path}`, { method: 'POST', ...rest, headers, body: JSON.stringify(json) });
  }

  /** The JSON of an answer that must have this status. */
  // biome-ignore lint/suspicious/noExplicitAny: what the test expects to be there is asserted by it
  async json(path: string, init: RequestInit & { json?: unknown } = {}, status = 200): Promise<any> {
    const answer = await this.call(path, init);
    const text = await answer.text();
    assert.equal(answer.status, status, text);
    return JSON.parse(text);
  }

  /** A request whose path is sent as it is and whose body is written by the test. */
  request(method: string, path: string, headers: http.OutgoingHttpHeaders = {}): http.ClientRequest {
    const { hostname, port, pathname } = new URL(this.#root);
    const authorization = `Bearer ${this.#token}`;
    return http.request({
      method,
      hostname,
      port,
      path: `${pathname}${path}`,
      headers: { authorization, ...headers },
    });
  }

  /** Resolves when the object store holds no file: the last reader's letting go is seen by nobody else. */
  async untilNothingStored(): Promise<void> {
    while ((await this.storedFiles()).length > 0);
  }

  /** The files of the object store, whole or not. */
  async storedFiles(): Promise<string[]> {
    const entries = await readdir(join(this.dataFolder, 'objects'), { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
  }
}

/** Starts a service with one bucket; it is stopped and removed when the test ends. */
export async function startService(
  t: TestContext,
  bucket = 'bucket',
  options: Partial<ServeOptions> = {},
): Promise<TestService> {
  const service = new TestService(await mkdtemp(join(tmpdir(), 'gantry-service-')), options);
  t.after(async () => {
    await service.stop();
    await rm(service.dataFolder, { recursive: true });
  });
  await service.start();
  await service.json('/buckets', { json: { name: bucket } }, 201);
  return service;
}

export async function errorCode(answer: Response): Promise<string> {
  return ((await answer.json()) as { error: { code: string } }).error.code;
}

/** Bytes that differ from place to place. */
export function patterned(lengthBytes: number, seed = 1): Buffer<ArrayBuffer> {
  const bytes = Buffer.alloc(lengthBytes);
  for (let at = 0; at < lengthBytes; at++) bytes[at] = (at * seed + (at >> 8)) % 251;
  return bytes;
}
