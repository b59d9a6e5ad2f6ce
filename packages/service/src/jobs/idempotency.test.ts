import assert from 'node:assert/strict';
import { forEachEngine } from '../db/engines.testkit.ts';
import { makeTenancy } from '../db/repositories/rows.testkit.ts';
import { type Answer, Idempotency } from './idempotency.ts';

const accepted: Answer = { statusCode: 202, body: { jobId: 'job-1', list: [1, null, 'é'] } };

forEachEngine('a request that comes again gets the first answer and is not run', async (open) => {
  const { kysely } = await open();
  const { id } = await makeTenancy(kysely);
  const idempotency = new Idempotency(kysely);
  let runs = 0;
  const run = async (): Promise<Answer> => {
    runs += 1;
    return accepted;
  };
  assert.deepEqual(await idempotency.once(id, 'key', 'hash', run), { ...accepted, isReplay: false });
  assert.deepEqual(await idempotency.once(id, 'key', 'hash', run), { ...accepted, isReplay: true });
  assert.equal(runs, 1);
});

forEachEngine('keys of another tenancy are other keys', async (open) => {
  const { kysely } = await open();
  const main = await makeTenancy(kysely);
  const other = await makeTenancy(kysely, 'other');
  const idempotency = new Idempotency(kysely);
  await idempotency.once(main.id, 'key', 'hash', async () => accepted);
  const answer = await idempotency.once(other.id, 'key', 'other hash', async () => accepted);
  assert.equal(answer.isReplay, false);
});

forEachEngine('a key that comes with another request is refused', async (open) => {
  const { kysely } = await open();
  const { id } = await makeTenancy(kysely);
  const idempotency = new Idempotency(kysely);
  await idempotency.once(id, 'key', 'hash', async () => accepted);
  await assert.rejects(
    idempotency.once(id, 'key', 'other hash', async () => accepted),
    { code: 'IDEMPOTENCY_MISMATCH' },
  );
});

forEachEngine('while the first request runs, the second is refused', async (open) => {
  const { kysely } = await open();
  const { id } = await makeTenancy(kysely);
  const idempotency = new Idempotency(kysely);
  const runs = Array.from({ length: 5 }, () => Promise.withResolvers<Answer>());
  let started = 0;
  const refused: unknown[] = [];
  const answers = runs.map(() =>
    idempotency
      .once(id, 'key', 'hash', () => {
        started += 1;
        return runs[0]!.promise;
      })
      .catch((error) => {
        refused.push(error.code);
        // The first answers when all others were refused.
        if (refused.length === 4) runs[0]!.resolve(accepted);
      }),
  );
  await Promise.all(answers);
  assert.equal(started, 1);
  assert.deepEqual(refused, Array(4).fill('IDEMPOTENCY_IN_PROGRESS'));
});

forEachEngine('a request that failed frees its key', async (open) => {
  const { kysely } = await open();
  const { id } = await makeTenancy(kysely);
  const idempotency = new Idempotency(kysely);
  const failing = idempotency.once(id, 'key', 'hash', async () => {
    throw new Error('no');
  });
  await assert.rejects(failing, /no/);
  const unavailable: Answer = { statusCode: 503, body: null };
  assert.equal((await idempotency.once(id, 'key', 'hash', async () => unavailable)).statusCode, 503);
  assert.equal((await idempotency.once(id, 'key', 'other', async () => accepted)).isReplay, false);
});

forEachEngine('a refusal of 4xx is an answer like others', async (open) => {
  const { kysely } = await open();
  const { id } = await makeTenancy(kysely);
  const idempotency = new Idempotency(kysely);
  const refusal: Answer = { statusCode: 409, body: { code: 'CONFLICT' } };
  await idempotency.once(id, 'key', 'hash', async () => refusal);
  const again = await idempotency.once(id, 'key', 'hash', async () => accepted);
  assert.deepEqual(again, { ...refusal, isReplay: true });
});

forEachEngine('a key is free again after a day, or when its process died', async (open) => {
  const { kysely } = await open();
  const { id } = await makeTenancy(kysely);
  let nowMs = 1_000_000;
  const idempotency = new Idempotency(kysely, { now: () => nowMs });
  const first = await idempotency.once(id, 'key', 'hash', async () => accepted);
  assert.equal(first.isReplay, false);
  nowMs += 24 * 3600 * 1000 - 1;
  assert.equal((await idempotency.once(id, 'key', 'hash', async () => accepted)).isReplay, true);
  nowMs += 1;
  assert.equal((await idempotency.once(id, 'key', 'hash', async () => accepted)).isReplay, false);

  const dead = Promise.withResolvers<Answer>();
  const started = Promise.withResolvers<void>();
  const deadRequest = idempotency.once(id, 'dead', 'hash', () => {
    started.resolve();
    return dead.promise;
  });
  await started.promise;
  nowMs += 15 * 60 * 1000;
  assert.equal((await idempotency.once(id, 'dead', 'hash', async () => accepted)).isReplay, false);
  // The dead one lives after all: it changes nothing.
  dead.resolve({ statusCode: 200, body: 'late' });
  await deadRequest;
  const replay = await idempotency.once(id, 'dead', 'hash', async () => accepted);
  assert.deepEqual(replay, { ...accepted, isReplay: true });
});

forEachEngine('the only process frees at its start what the one before left', async (open) => {
  const { kysely } = await open();
  const { id } = await makeTenancy(kysely);
  const idempotency = new Idempotency(kysely);
  await idempotency.once(id, 'answered', 'hash', async () => accepted);
  const started = Promise.withResolvers<void>();
  const forever = Promise.withResolvers<Answer>();
  void idempotency.once(id, 'left', 'hash', () => {
    started.resolve();
    return forever.promise;
  });
  await started.promise;
  await idempotency.forgetUnanswered();
  assert.equal((await idempotency.once(id, 'left', 'hash', async () => accepted)).isReplay, false);
  assert.equal((await idempotency.once(id, 'answered', 'hash', async () => accepted)).isReplay, true);
});

forEachEngine('old keys are forgotten, young ones are not', async (open) => {
  const { kysely } = await open();
  const { id } = await makeTenancy(kysely);
  let nowMs = 1_000_000;
  const idempotency = new Idempotency(kysely, { now: () => nowMs });
  await idempotency.once(id, 'old', 'hash', async () => accepted);
  nowMs += 24 * 3600 * 1000 + 1;
  await idempotency.once(id, 'young', 'hash', async () => accepted);
  await idempotency.forgetOld();
  const rows = await kysely.selectFrom('idempotency_keys').select('idempotency_key').execute();
  assert.deepEqual(rows, [{ idempotency_key: 'young' }]);
});
