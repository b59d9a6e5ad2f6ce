import assert from 'node:assert/strict';
import { forEachEngine } from '../db/engines.testkit.ts';
import { newId } from '../db/ids.ts';
import { makeTenancy } from '../db/repositories/rows.testkit.ts';
import { LeaseLost } from './interruptions.ts';
import { jobView } from './job.ts';
import { makeQueue } from './jobs.testkit.ts';
import type { JobLease } from './lease.ts';
import type { JobQueue } from './queue.ts';

const request = { owner: 'w1', kinds: ['import', 'export'], leaseMs: 30_000 };

async function claim(queue: JobQueue, owner = 'w1'): Promise<JobLease> {
  const lease = await queue.claim({ ...request, owner });
  assert.ok(lease, 'there is a job to claim');
  return lease;
}

forEachEngine('a new job waits with its input', async (open) => {
  const { queue, tenancyId, clock } = await makeQueue(await open());
  const input = { bucket: 'b', key: 'ключ', sizes: [1, 2] };
  const job = await queue.create({ tenancyId, userId: newId('usr'), kind: 'import', input });
  assert.deepEqual(await queue.get(tenancyId, job.id), job);
  assert.equal(job.state, 'queued');
  assert.deepEqual(job.input, input);
  assert.equal(job.createdAtMs, clock.nowMs);
  assert.deepEqual(JSON.parse(JSON.stringify(jobView(job))), jobView(job));
});

forEachEngine('a job does not exist for another tenancy', async (open) => {
  const database = await open();
  const { queue, create } = await makeQueue(database);
  const other = await makeTenancy(database.kysely, 'other');
  const { id } = await create('import');
  for (const ask of [
    () => queue.get(other.id, id),
    () => queue.log(other.id, id, { limit: 1 }),
    () => queue.cancel(other.id, id),
    () => queue.retry(other.id, id),
  ]) {
    await assert.rejects(ask, { code: 'NOT_FOUND' });
  }
  assert.deepEqual((await queue.list({ tenancyId: other.id, limit: 10 })).items, []);
});

forEachEngine('four workers claim every job once', async (open) => {
  const { queue, create } = await makeQueue(await open());
  const ids: string[] = [];
  for (let index = 0; index < 60; index += 1) ids.push((await create('import')).id);
  const work = async (owner: string): Promise<string[]> => {
    const claimed: string[] = [];
    for (;;) {
      const lease = await queue.claim({ ...request, owner });
      if (lease === undefined) return claimed;
      claimed.push(lease.job.id);
    }
  };
  const claimed = await Promise.all(['w1', 'w2', 'w3', 'w4'].map(work));
  assert.deepEqual(claimed.flat().toSorted(), ids);
});

forEachEngine('a worker claims the oldest job of the kinds that it can do', async (open) => {
  const { queue, create } = await makeQueue(await open());
  await create('replicate');
  const second = await create('export');
  await create('import');
  assert.equal((await claim(queue)).job.id, second.id);
  assert.equal(await queue.claim({ ...request, kinds: [] }), undefined);
  assert.equal(await queue.claim({ ...request, kinds: ['capture'] }), undefined);
});

forEachEngine('a job is claimed again when its lease ended, not before', async (open) => {
  const { queue, tenancyId, create, clock } = await makeQueue(await open());
  const { id } = await create('import');
  const first = await claim(queue, 'w1');
  clock.nowMs += 20_000;
  await first.heartbeat(30_000);
  clock.nowMs += 29_999;
  assert.equal(await queue.claim({ ...request, owner: 'w2' }), undefined);
  clock.nowMs += 1;
  assert.equal(await queue.claim({ ...request, owner: 'w1', exceptIds: [id] }), undefined);
  const second = await claim(queue, 'w2');
  assert.equal(second.job.attempt, 2);
  assert.equal(second.lostCount, 1);
  assert.equal((await queue.get(tenancyId, id)).state, 'running');
});

forEachEngine('nothing that a stale worker writes goes through', async (open) => {
  const { queue, tenancyId, create, clock } = await makeQueue(await open());
  const { id } = await create('import');
  const stale = await claim(queue, 'w1');
  await stale.saveCheckpoint({ part: 1 });
  clock.nowMs += 30_000;
  await claim(queue, 'w2');
  const before = await queue.get(tenancyId, id);
  let written = false;
  for (const write of [
    () => stale.heartbeat(30_000),
    () => stale.progress({ phase: 'x', doneBytes: 9, totalBytes: 9, bytesPerSecond: 9 }),
    () => stale.log('info', 'x'),
    () => stale.saveCheckpoint({ part: 0 }),
    () =>
      stale.succeed('x', async () => {
        written = true;
      }),
    () => stale.fail({ code: 'INTERNAL', message: 'x', hint: null }),
    () => stale.cancel(),
    () => stale.release(),
    () => stale.postpone(0),
  ]) {
    await assert.rejects(write, LeaseLost);
  }
  assert.deepEqual(await queue.get(tenancyId, id), before);
  assert.deepEqual(await queue.log(tenancyId, id, { limit: 10 }), []);
  assert.equal(written, false);
});

forEachEngine('a job that succeeded has its result and all its bytes', async (open) => {
  const { queue, create, clock } = await makeQueue(await open());
  await create('import');
  const lease = await claim(queue);
  await lease.progress({ phase: 'copy', doneBytes: 900, totalBytes: 1000, bytesPerSecond: 50 });
  clock.nowMs += 5;
  const job = await lease.succeed({ imageId: 'img-1' });
  assert.equal(job.state, 'succeeded');
  assert.deepEqual(job.result, { imageId: 'img-1' });
  assert.deepEqual([job.doneBytes, job.totalBytes, job.bytesPerSecond], [1000, 1000, undefined]);
  assert.equal(job.finishedAtMs, clock.nowMs);
});

forEachEngine('what is written at the success is there exactly if the job succeeded', async (open) => {
  const database = await open();
  const { queue, tenancyId, create } = await makeQueue(database);
  const write = (name: string) => async (transaction: typeof database.kysely) => {
    await makeTenancy(transaction, name);
    if (name === 'broken') throw new Error('cannot write');
  };
  const { id } = await create('import');
  const lease = await claim(queue);
  await assert.rejects(lease.succeed(null, write('broken')), /cannot write/);
  assert.equal((await queue.get(tenancyId, id)).state, 'running');
  await lease.succeed(null, write('whole'));

  await create('import');
  const canceled = await claim(queue);
  await queue.cancel(tenancyId, canceled.job.id);
  assert.equal((await canceled.succeed('too late', write('canceled'))).state, 'canceled');

  const names = await database.kysely.selectFrom('tenancies').select('name').orderBy('name').execute();
  assert.deepEqual(
    names.map((row) => row.name),
    ['main', 'whole'],
  );
});

forEachEngine('a waiting job is canceled at once, and nobody claims it', async (open) => {
  const { queue, tenancyId, create, clock } = await makeQueue(await open());
  const { id } = await create('import');
  const job = await queue.cancel(tenancyId, id);
  assert.equal(job.state, 'canceled');
  assert.equal(job.finishedAtMs, clock.nowMs);
  assert.equal(await queue.claim(request), undefined);
  assert.equal((await queue.cancel(tenancyId, id)).state, 'canceled');
});

forEachEngine('the worker of a canceled job hears of it, and every ending is canceled', async (open) => {
  const { queue, tenancyId, create } = await makeQueue(await open());
  for (const end of [
    (lease: JobLease) => lease.succeed('done'),
    (lease: JobLease) => lease.fail({ code: 'INTERNAL', message: 'x', hint: null }),
    (lease: JobLease) => lease.release(),
    (lease: JobLease) => lease.postpone(0),
    (lease: JobLease) => lease.cancel(),
  ]) {
    const { id } = await create('import');
    const lease = await claim(queue);
    const asked = await queue.cancel(tenancyId, id);
    assert.deepEqual([asked.state, asked.cancelRequested], ['running', true]);
    assert.deepEqual(await queue.cancelRequests([id, 'job-0']), [id]);
    assert.deepEqual(await lease.heartbeat(1000), { cancelRequested: true });
    const progress = { phase: 'copy', doneBytes: 0, totalBytes: undefined, bytesPerSecond: undefined };
    assert.deepEqual(await lease.progress(progress), { cancelRequested: true });
    const job = await end(lease);
    assert.deepEqual(
      [job.state, job.cancelRequested, job.result, job.error],
      ['canceled', false, undefined, undefined],
    );
  }
});

forEachEngine('a job that ended is neither canceled nor retried when it succeeded', async (open) => {
  const { queue, tenancyId, create } = await makeQueue(await open());
  const { id } = await create('import');
  await assert.rejects(queue.retry(tenancyId, id), { code: 'CONFLICT' });
  const lease = await claim(queue);
  await assert.rejects(queue.retry(tenancyId, id), { code: 'CONFLICT' });
  await lease.succeed(null);
  await assert.rejects(queue.cancel(tenancyId, id), { code: 'CONFLICT' });
  await assert.rejects(queue.retry(tenancyId, id), { code: 'CONFLICT' });
});

forEachEngine('a failed or canceled job is retried from its checkpoint', async (open) => {
  const { queue, tenancyId, create } = await makeQueue(await open());
  const { id } = await create('import');
  const first = await claim(queue);
  await first.saveCheckpoint({ part: 7 });
  const error = { code: 'STORE_FULL', message: 'the disk is full', hint: 'make room' };
  assert.deepEqual((await first.fail(error)).error, error);

  const queued = await queue.retry(tenancyId, id);
  assert.deepEqual([queued.state, queued.error, queued.finishedAtMs], ['queued', undefined, undefined]);
  const second = await claim(queue);
  assert.deepEqual(second.job.checkpoint, { part: 7 });
  await queue.cancel(tenancyId, id);
  await second.cancel();
  await queue.retry(tenancyId, id);
  const third = await claim(queue);
  assert.deepEqual([third.job.attempt, third.job.checkpoint], [3, { part: 7 }]);
  assert.equal((await third.succeed(null)).state, 'succeeded');
});

forEachEngine(
  'a postponed job waits for its time, and failures count until a new checkpoint',
  async (open) => {
    const { queue, create, clock } = await makeQueue(await open());
    await create('import');
    const first = await claim(queue);
    await first.saveCheckpoint(1);
    await first.postpone(clock.nowMs + 5000);
    assert.equal(await queue.claim(request), undefined);
    clock.nowMs += 5000;
    const second = await claim(queue);
    assert.equal(second.failureCount, 1);
    await second.saveCheckpoint(1);
    assert.equal(second.failureCount, 1);
    await second.postpone(0);
    const third = await claim(queue);
    assert.equal(third.failureCount, 2);
    await third.saveCheckpoint(2);
    assert.equal(third.failureCount, 0);
    await third.postpone(0);
    assert.equal((await claim(queue)).failureCount, 1);
  },
);

forEachEngine('a released job waits with its checkpoint and without a fault', async (open) => {
  const { queue, create } = await makeQueue(await open());
  await create('import');
  const first = await claim(queue);
  await first.saveCheckpoint('half');
  assert.equal((await first.release()).state, 'queued');
  const second = await claim(queue);
  assert.deepEqual([second.job.checkpoint, second.failureCount, second.lostCount], ['half', 0, 0]);
});

forEachEngine('the only worker takes over at once what a dead one left', async (open) => {
  const { queue, tenancyId, create } = await makeQueue(await open());
  const left = await create('import');
  const canceled = await create('import');
  const waiting = await create('import');
  const dead = [await claim(queue, 'dead'), await claim(queue, 'dead')];
  await queue.cancel(tenancyId, canceled.id);
  await queue.endAllLeases();
  assert.equal((await queue.get(tenancyId, canceled.id)).state, 'canceled');
  assert.equal((await queue.get(tenancyId, left.id)).state, 'queued');
  for (const lease of dead) await assert.rejects(lease.heartbeat(1000), LeaseLost);
  const next = await claim(queue);
  assert.deepEqual([next.job.id, next.lostCount], [left.id, 1]);
  assert.equal((await claim(queue)).job.id, waiting.id);
});

forEachEngine('jobs are listed newest first, in pages, by state and kind', async (open) => {
  const { queue, tenancyId, create } = await makeQueue(await open());
  const ids: string[] = [];
  for (const kind of ['import', 'export', 'import', 'export', 'import']) ids.push((await create(kind)).id);
  const [first, second, third, fourth, fifth] = ids;
  await (await claim(queue)).succeed(null);
  await claim(queue);
  const list = async (filter: object): Promise<string[]> => {
    const found: string[] = [];
    let startAfter: string | undefined;
    do {
      const page = await queue.list({ tenancyId, limit: 2, startAfter, ...filter });
      found.push(...page.items.map((job) => job.id));
      startAfter = page.next;
    } while (startAfter !== undefined);
    return found;
  };
  assert.deepEqual(await list({}), [fifth, fourth, third, second, first]);
  assert.deepEqual(await list({ states: ['queued'] }), [fifth, fourth, third]);
  assert.deepEqual(await list({ states: ['running', 'succeeded'] }), [second, first]);
  assert.deepEqual(await list({ states: [], kinds: ['export'] }), [fourth, second]);
});

forEachEngine('the log of a job is read from its begin and from any line on', async (open) => {
  const { queue, tenancyId, create, clock } = await makeQueue(await open());
  const { id } = await create('import');
  const lease = await claim(queue);
  for (const message of ['one', 'two', 'three']) {
    clock.nowMs += 1;
    await lease.log('info', message);
  }
  await lease.log('warning', 'four');
  const lines = await queue.log(tenancyId, id, { limit: 3 });
  assert.deepEqual(
    lines.map((line) => line.message),
    ['one', 'two', 'three'],
  );
  assert.equal(lines[0]?.atMs, clock.nowMs - 2);
  const rest = await queue.log(tenancyId, id, { startAfter: lines[2]?.id, limit: 3 });
  assert.deepEqual(
    rest.map((line) => [line.level, line.message]),
    [['warning', 'four']],
  );
});

forEachEngine('a job made in a transaction that is rolled back was never there', async (open) => {
  const database = await open();
  const { queue, tenancyId } = await makeQueue(database);
  const changes: string[] = [];
  queue.subscribe((change) => changes.push(change));
  const failing = database.kysely.transaction().execute(async (transaction) => {
    await queue.create({ tenancyId, kind: 'import', input: null }, transaction);
    throw new Error('no');
  });
  await assert.rejects(failing, /no/);
  assert.equal(await queue.claim(request), undefined);
  assert.deepEqual(changes, []);
});
