import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ImageError, imageErrorCodes, StoreError, storeErrorCodes } from '@gantry/disk';
import { DomainError, domainErrorCodes } from '../../domain/errors.ts';
import { type RunningService, serve } from '../../main.ts';
import { refusalOf } from './errors.ts';

let folder = '';
let service: RunningService;
let token = '';

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gantry-errors-'));
  service = await serve({ dataFolder: join(folder, 'data'), listen: '127.0.0.1:0', logLevel: 'silent' });
  token = /^token = "(.+)"$/m.exec(await readFile(service.profilePath, 'utf8'))?.[1] ?? '';
});
after(async () => {
  await service.stop();
  await rm(folder, { recursive: true });
});

interface Answer {
  readonly status: number;
  readonly code: string;
  readonly headers: Headers;
}

async function send(method: string, path: string, init: RequestInit = {}): Promise<Answer> {
  const headers = { authorization: `Bearer ${token}`, ...(init.headers as Record<string, string>) };
  const response = await fetch(`${service.address}/api/v1${path}`, { ...init, method, headers });
  const { error } = (await response.json()) as { error: { code: string; requestId: string } };
  assert.equal(error.requestId, response.headers.get('x-request-id'));
  return { status: response.status, code: error.code, headers: response.headers };
}

const json = { 'content-type': 'application/json' };

test('a request without a token, or with a wrong one, is told how to bring one', async () => {
  for (const authorization of ['', 'Bearer ', 'Basic YTpi', `Bearer ${token}x`]) {
    const { status, code, headers } = await send('GET', '/images', { headers: { authorization } });
    assert.deepEqual([status, code], [401, 'UNAUTHENTICATED']);
    assert.match(headers.get('www-authenticate') ?? '', /^Bearer/);
  }
});

test('what is not there is not found, be it a route, an image, a job or a bucket', async () => {
  for (const path of [
    '/nothing',
    '/images/img-0',
    '/jobs/job-0',
    '/buckets/absent',
    '/images/img-0/as/raw',
  ]) {
    const { status, code } = await send('GET', path);
    assert.deepEqual([status, code], [404, 'NOT_FOUND'], path);
  }
});

test('a body that is no JSON, says too little, or says too much is invalid or too large', async () => {
  const invalid = ['{', '{}', '{"name": 7}', '{"name": "UPPER CASE"}'];
  for (const body of invalid) {
    const { status, code } = await send('POST', '/buckets', { body, headers: json });
    assert.deepEqual([status, code], [400, 'INVALID'], body);
  }
  const { status, code } = await send('POST', '/buckets', {
    body: `{"name": "${'a'.repeat(2_000_000)}"}`,
    headers: json,
  });
  assert.deepEqual([status, code], [413, 'TOO_LARGE']);
});

test('a path that is no path is refused in the one shape', async () => {
  for (const path of ['/images/%zz', `/images/${'a'.repeat(5000)}`]) {
    const { status, code } = await send('GET', path);
    assert.ok(status >= 400 && status < 500, `${status}`);
    assert.match(code, /^(INVALID|NOT_FOUND)$/);
  }
});

test("the description names the parameter that is an object's key", async () => {
  const answer = await fetch(`${service.address}/api/v1/openapi.json`);
  const { paths } = (await answer.json()) as {
    paths: Record<string, Record<string, { parameters: { name: string; in: string; required: boolean }[] }>>;
  };
  const { parameters } = paths['/api/v1/buckets/{bucket}/objects/{key}']!.get!;
  const inPath = parameters.filter((parameter) => parameter.in === 'path');
  assert.deepEqual(
    inPath.map(({ name, required }) => [name, required]),
    [
      ['bucket', true],
      ['key', true],
    ],
  );
  assert.doesNotMatch(Object.keys(paths).join(' '), /\*/);
});

test('every code has a status of its own kind, and a fault of ours shows nothing of itself', () => {
  const place = { structure: 'x', where: 'x' };
  for (const code of imageErrorCodes) {
    const status = refusalOf(new ImageError(code, 'm', place)).status;
    assert.ok(status >= 400 && status < 500, `${code} ${status}`);
  }
  for (const code of storeErrorCodes) assert.ok(refusalOf(new StoreError(code, 'm', place)).status >= 400);
  for (const code of domainErrorCodes) assert.ok(refusalOf(new DomainError(code, 'm')).status >= 400);
  const fault = refusalOf(new TypeError('secret is not a function'));
  assert.deepEqual([fault.status, fault.code], [500, 'INTERNAL']);
  assert.doesNotMatch(JSON.stringify(fault), /secret/);
});
