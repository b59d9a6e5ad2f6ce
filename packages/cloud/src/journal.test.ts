import assert from 'node:assert/strict';
import { link, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Journal } from './journal.ts';

interface Counting {
  readonly count: number;
  readonly name?: string;
}

const isCounting = (state: object): state is Counting => 'count' in state;

async function place(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-journal-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return join(folder, 'journal.json');
}

test('what was saved is there for the next process', async (t) => {
  const path = await place(t);
  const journal = await Journal.create<Counting>(path, 'counting', { count: 1 });
  await journal.save({ name: 'one' });
  assert.deepEqual((await Journal.open(path, 'counting', isCounting)).state, { count: 1, name: 'one' });
  await assert.rejects(Journal.create<Counting>(path, 'counting', { count: 9 }), { code: 'STORE_EXISTS' });
  assert.equal((await Journal.open(path, 'counting', isCounting)).state.count, 1);
});

test('of two processes the later one has the journal, and the other is told', async (t) => {
  const path = await place(t);
  const first = await Journal.create<Counting>(path, 'counting', { count: 1 });
  const second = await Journal.open(path, 'counting', isCounting);
  await assert.rejects(first.save({ count: 2 }), { code: 'STORE_CHANGED' });
  await second.save({ count: 3 });
  assert.equal(second.state.count, 3);
});

test('a kill between the two names of a new journal loses nothing', async (t) => {
  const path = await place(t);
  await Journal.create<Counting>(path, 'counting', { count: 1 });
  await link(path, `${path}.new`);
  const journal = await Journal.open(path, 'counting', isCounting);
  await journal.save({ count: 2 });
  assert.equal(JSON.parse(await readFile(path, 'utf8')).count, 2);
});

test('what is no journal of the kind is refused, whatever it is', async (t) => {
  const path = await place(t);
  await assert.rejects(Journal.open(path, 'counting', isCounting), { code: 'STORE_NOT_FOUND' });
  for (const text of [
    '',
    '[]',
    '{}',
    '{"journal":"other","count":1}',
    '{"journal":"counting"}',
    'x'.repeat(2 ** 23),
  ]) {
    await writeFile(path, text);
    await assert.rejects(Journal.open(path, 'counting', isCounting), { code: 'STORE_REFUSED' });
    assert.equal(await readFile(path, 'utf8'), text);
  }
});
