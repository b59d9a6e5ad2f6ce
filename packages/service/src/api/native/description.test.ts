import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type RunningService, serve } from '../../main.ts';

let folder = '';
let service: RunningService;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gantry-description-'));
  service = await serve({ dataFolder: join(folder, 'data'), listen: '127.0.0.1:0', logLevel: 'silent' });
});
after(async () => {
  await service.stop();
  await rm(folder, { recursive: true });
});

interface Operation {
  readonly summary?: string;
  readonly responses?: object;
}

test('the description is OpenAPI 3.1 and tells of every operation what it does and answers', async () => {
  const response = await fetch(`${service.address}/api/v1/openapi.json`);
  const document = (await response.json()) as {
    openapi: string;
    paths: Record<string, Record<string, Operation>>;
  };
  assert.match(document.openapi, /^3\.1\./);
  assert.ok(Object.keys(document.paths).length > 20);
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      assert.ok(operation.summary, `${method} ${path} has a summary`);
      assert.ok(operation.responses, `${method} ${path} has responses`);
    }
  }
});

test('the page that shows the description is there with all its parts', async () => {
  const page = await fetch(`${service.address}/api/v1/docs`);
  const parts = [...(await page.text()).matchAll(/(?:href|src)="([^"]+)"/g)].map((match) => match[1] ?? '');
  assert.ok(parts.length >= 5, parts.join(' '));
  for (const part of parts) {
    const answer = await fetch(new URL(part, page.url));
    assert.equal(answer.status, 200, part);
    await answer.body?.cancel();
  }
});
