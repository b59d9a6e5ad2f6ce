import assert from 'node:assert/strict';
import { afterEach } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { ImageError, StoreError } from '@gantry/disk';
import { sql } from 'kysely';
import { forEachEngine } from '../db/engines.testkit.ts';
import { makeTenancy } from '../db/repositories/rows.testkit.ts';
import { DomainError } from '../domain/errors.ts';
import type { JobContext, JobHandler, JobHandlers } from './handler.ts';
import { JobCanceled, LeaseLost, WorkerStopping } from './interruptions.ts';
import type { Job } from './job.ts';
import { makeLogger, makeQueue, type QueueWithTenancy, waitForJob } from './jobs.testkit.ts';
import { MAX_LOG_LINES, MAX_LOST_WORKERS } from './limits.ts';
import { JobQueue } from './queue.ts';
import { JobRunner, type JobRunnerOptions } from './runner.ts';

/** A test that failed has not stopped its runner: its timers would keep the process. */
const runners: JobRunner[] = [];
afterEach(() => {
  for (const runner of runners.splice(0)) void runner.stop();
});

/** A runner that looks for work only when it is woken, and waits for nothing. */
function makeRunner(
  { queue, clock }: QueueWithTenancy,
  handlers: JobHandlers,
  options: Partial<JobRunnerOptions> = {},
): JobRunner {
  const runner = new JobRunner({
    queue,
    handlers,
    logger: makeLogger(),
    soleWorker: true,
    pollMs: 1_000_000,
    heartbeatMs: 1_000_000,
    progressMs: 1,
    retryDelaysMs: [0],
    now: () => clock.nowMs,
    ...options,
  });
  runners.push(runner);
  return runner;
}

async function messages({ queue, tenancyId }: QueueWithTenancy, id: string): Promise<string[]> {
  return (await queue.log(tenancyId, id, { limit: 10_000 })).map((line) => line.message);
}

/** Ends when the signal is aborted, as handlers do: by throwing the reason. */
function untilAborted({ signal }: JobContext): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

forEachEngine('a job runs through its phases to its result', async (open) => {
  const jobs = await makeQueue(await open());
  const runner = makeRunner(jobs, {
    import: async (context) => {
      await context.phase('copy', 1000);
      context.progress(400);
      context.log('warning', 'one block was empty');
      await context.phase('verify', 50);
      context.progress(20);
      return { echo: context.input };
    },
  });
  const before = await jobs.create('import', 'before the start');
  await runner.start();
  const after = await jobs.create('import', 'after the start');
  for (const { id, input } of [before, after]) {
    const job = await waitForJob(jobs.queue, { tenancyId: jobs.tenancyId, id });
    assert.deepEqual([job.state, job.result], ['succeeded', { echo: input }]);
    assert.deepEqual([job.phase, job.doneBytes, job.totalBytes], ['verify', 50, 50]);
    assert.deepEqual(await messages(jobs, id), [
      'phase copy: 1000 bytes',
      'one block was empty',
      'phase verify: 50 bytes',
    ]);
  }
  await runner.stop();
});

forEachEngine('no more jobs run at a time than allowed', async (open) => {
  const jobs = await makeQueue(await open());
  let running = 0;
  let most = 0;
  const handler: JobHandler = async (context) => {
    running += 1;
    most = Math.max(most, running);
    await context.phase('copy');
    await context.saveCheckpoint(1);
    running -= 1;
    return null;
  };
  const runner = makeRunner(jobs, { import: handler }, { concurrency: 3 });
  const created = [];
  for (let index = 0; index < 12; index += 1) created.push(await jobs.create('import'));
  await runner.start();
  for (const job of created) assert.equal((await waitForJob(jobs.queue, job)).state, 'succeeded');
  await runner.stop();
  assert.equal(most, 3);
});

forEachEngine('four runners on one queue run every job once', async (open) => {
  const jobs = await makeQueue(await open());
  const seen: string[] = [];
  const handler: JobHandler = async (context) => {
    seen.push(context.job.id);
    await context.phase('copy');
    return null;
  };
  const runners = [1, 2, 3, 4].map(() => makeRunner(jobs, { import: handler }, { soleWorker: false }));
  await Promise.all(runners.map((runner) => runner.start()));
  const created = await Promise.all(Array.from({ length: 24 }, () => jobs.create('import')));
  for (const job of created) assert.equal((await waitForJob(jobs.queue, job)).state, 'succeeded');
  await Promise.all(runners.map((runner) => runner.stop()));
  assert.deepEqual(seen.toSorted(), created.map((job) => job.id).toSorted());
});

forEachEngine('an error that we name is shown with its hint and is not tried again', async (open) => {
  const jobs = await makeQueue(await open());
  const errors = [
    new ImageError('IMAGE_TRUNCATED', 'it ends early', { structure: 'VHD footer', hint: 'copy it again' }),
    new StoreError('STORE_FULL', 'no room', { where: '/data', hint: 'make room' }),
    new DomainError('VERIFY_FAILED', 'it is another', { hint: 'import it again' }),
  ];
  let attempts = 0;
  const runner = makeRunner(jobs, {
    import: async (context) => {
      attempts += 1;
      throw errors[Number(context.input)];
    },
  });
  await runner.start();
  for (const [index, error] of errors.entries()) {
    const job = await waitForJob(jobs.queue, await jobs.create('import', index));
    assert.equal(job.state, 'failed');
    assert.deepEqual(job.error, { code: error.code, message: error.message, hint: error.hint });
    assert.deepEqual(await messages(jobs, job.id), [`${error.code}: ${error.message}`]);
  }
  assert.equal(attempts, errors.length);
  await runner.stop();
});

forEachEngine('an error that we did not foresee goes to the operator, not to the user', async (open) => {
  const jobs = await makeQueue(await open());
  const logger = makeLogger();
  const mistake = new TypeError('password of undefined');
  const failing: JobHandler = async () => {
    throw mistake;
  };
  const runner = makeRunner(jobs, { import: failing }, { logger });
  await runner.start();
  const job = await waitForJob(jobs.queue, await jobs.create('import'));
  assert.equal(job.error?.code, 'INTERNAL');
  assert.ok(!JSON.stringify([job, await messages(jobs, job.id)]).includes('password'));
  assert.equal(logger.entries.find((entry) => entry.level === 'error')?.err, mistake);
  await runner.stop();
});

forEachEngine('a failure that may pass is tried three times', async (open) => {
  const jobs = await makeQueue(await open());
  const failures = new Map<string, number>();
  const runner = makeRunner(jobs, {
    import: async ({ job, input }) => {
      const count = failures.get(job.id) ?? 0;
      if (count === Number(input)) return 'reached';
      failures.set(job.id, count + 1);
      throw new StoreError('STORE_UNREACHABLE', 'no answer', { where: 'https://store.example' });
    },
  });
  await runner.start();
  const lucky = await waitForJob(jobs.queue, await jobs.create('import', 2));
  assert.deepEqual([lucky.state, lucky.result, lucky.attempt], ['succeeded', 'reached', 3]);
  const again = 'STORE_UNREACHABLE: no answer; tried again in 0 s';
  assert.deepEqual(await messages(jobs, lucky.id), [
    again,
    'attempt 2, from the beginning',
    again,
    'attempt 3, from the beginning',
  ]);
  const unlucky = await waitForJob(jobs.queue, await jobs.create('import', 3));
  assert.deepEqual([unlucky.state, unlucky.error?.code, unlucky.attempt], ['failed', 'STORE_UNREACHABLE', 3]);
  assert.equal((await messages(jobs, unlucky.id)).at(-1), 'STORE_UNREACHABLE: no answer');
  await runner.stop();
});

forEachEngine('a job that is canceled while it runs ends canceled', async (open) => {
  const jobs = await makeQueue(await open());
  const reasons: unknown[] = [];
  let started = Promise.withResolvers<void>();
  const runner = makeRunner(jobs, {
    obedient: async (context) => {
      started.resolve();
      return untilAborted(context).catch((reason) => {
        reasons.push(reason);
        throw reason;
      });
    },
    stubborn: async (context) => {
      started.resolve();
      return untilAborted(context).catch(() => 'done all the same');
    },
    broken: async (context) => {
      started.resolve();
      return untilAborted(context).catch(() => {
        throw new Error('the connection was closed');
      });
    },
  });
  await runner.start();
  for (const kind of ['obedient', 'stubborn', 'broken']) {
    started = Promise.withResolvers();
    const created = await jobs.create(kind);
    await started.promise;
    await jobs.queue.cancel(jobs.tenancyId, created.id);
    const job = await waitForJob(jobs.queue, created);
    assert.deepEqual([job.state, job.result, job.error], ['canceled', undefined, undefined], kind);
  }
  assert.ok(reasons[0] instanceof JobCanceled);
  await runner.stop();
});

forEachEngine(
  'what another process cancels is noticed at a wake-up and at the next progress',
  async (open) => {
    const database = await open();
    const jobs = await makeQueue(database);
    const elsewhere = new JobQueue(database);
    const proceed = Promise.withResolvers<void>();
    const runner = makeRunner(jobs, {
      waiting: async (context) => {
        await context.phase('copy');
        return untilAborted(context);
      },
      working: async (context) => {
        await context.phase('copy');
        await proceed.promise;
        context.progress(1);
        return untilAborted(context);
      },
    });
    await runner.start();
    const waiting = await jobs.create('waiting');
    await waitForJob(jobs.queue, waiting, (job) => job.phase === 'copy');
    await elsewhere.cancel(jobs.tenancyId, waiting.id);
    runner.wake();
    assert.equal((await waitForJob(jobs.queue, waiting)).state, 'canceled');

    const working = await jobs.create('working');
    await waitForJob(jobs.queue, working, (job) => job.phase === 'copy');
    await elsewhere.cancel(jobs.tenancyId, working.id);
    proceed.resolve();
    assert.equal((await waitForJob(jobs.queue, working)).state, 'canceled');
    await runner.stop();
  },
);

forEachEngine('a runner that stops leaves its jobs to the next one, with their checkpoints', async (open) => {
  const jobs = await makeQueue(await open());
  const reasons: unknown[] = [];
  const started = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const first = makeRunner(jobs, {
    import: async (context) => {
      await context.phase('copy', 100);
      started[Number(context.input)]?.resolve();
      return untilAborted(context).catch(async (reason) => {
        reasons.push(reason);
        await context.saveCheckpoint({ part: context.input });
        throw reason;
      });
    },
  });
  await first.start();
  const created: Job[] = [];
  for (const number of [0, 1, 2]) created.push(await jobs.create('import', number));
  await Promise.all(started.map(({ promise }) => promise));
  await first.stop();
  assert.ok(reasons.length === 2 && reasons.every((reason) => reason instanceof WorkerStopping));
  for (const { id } of created) assert.equal((await jobs.queue.get(jobs.tenancyId, id)).state, 'queued');

  const second = makeRunner(jobs, { import: async ({ checkpoint }) => ({ from: checkpoint ?? null }) });
  await second.start();
  const results = [];
  for (const job of created) results.push((await waitForJob(jobs.queue, job)).result);
  assert.deepEqual(results, [{ from: { part: 0 } }, { from: { part: 1 } }, { from: null }]);
  await second.stop();
});

forEachEngine('a runner that was stopped claims nothing more', async (open) => {
  const jobs = await makeQueue(await open());
  const runner = makeRunner(jobs, { import: async () => null });
  await runner.start();
  const stopped = runner.stop();
  const job = await jobs.create('import');
  runner.wake();
  await stopped;
  assert.equal((await jobs.queue.get(jobs.tenancyId, job.id)).state, 'queued');
});

forEachEngine('progress shows bytes and their rate', async (open) => {
  const jobs = await makeQueue(await open());
  const seen = Promise.withResolvers<void>();
  const runner = makeRunner(jobs, {
    import: async (context) => {
      await context.phase('copy', 10_000, 2000);
      jobs.clock.nowMs += 2000;
      for (let done = 2000; done <= 5000; done += 1) context.progress(done);
      await seen.promise;
      return null;
    },
  });
  await runner.start();
  const created = await jobs.create('import');
  const job = await waitForJob(jobs.queue, created, ({ doneBytes }) => doneBytes === 5000);
  assert.deepEqual([job.totalBytes, job.bytesPerSecond], [10_000, 1500]);
  seen.resolve();
  const ended = await waitForJob(jobs.queue, created);
  assert.deepEqual([ended.doneBytes, ended.totalBytes, ended.bytesPerSecond], [10_000, 10_000, undefined]);
  await runner.stop();
});

forEachEngine('a handler whose job went to another worker hears of it and changes nothing', async (open) => {
  const jobs = await makeQueue(await open());
  const started = Promise.withResolvers<void>();
  const proceed = Promise.withResolvers<void>();
  const reason = Promise.withResolvers<unknown>();
  const logger = makeLogger();
  const handler: JobHandler = async (context) => {
    await context.phase('copy', 10);
    started.resolve();
    await proceed.promise;
    context.progress(5);
    return untilAborted(context).catch((aborted) => {
      reason.resolve(aborted);
      return 'my result';
    });
  };
  const runner = makeRunner(jobs, { import: handler }, { logger });
  await runner.start();
  const { id } = await jobs.create('import');
  await started.promise;
  jobs.clock.nowMs += 30_000;
  const other = await jobs.queue.claim({ owner: 'other', kinds: ['import'], leaseMs: 30_000 });
  proceed.resolve();
  assert.ok((await reason.promise) instanceof LeaseLost);
  await runner.stop();
  const job = await jobs.queue.get(jobs.tenancyId, id);
  assert.deepEqual([job.state, job.attempt, job.doneBytes], ['running', 2, 0]);
  assert.equal((await other?.succeed('its result'))?.result, 'its result');
  assert.match(logger.entries.map((entry) => entry.message).join(), /taken over by another worker/);
});

forEachEngine('a heartbeat keeps a long job its worker’s own', async (open) => {
  const database = await open();
  const jobs = await makeQueue(database);
  const proceed = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  const handler: JobHandler = async () => {
    started.resolve();
    await proceed.promise;
    return null;
  };
  const runner = makeRunner(jobs, { import: handler }, { heartbeatMs: 1 });
  await runner.start();
  const created = await jobs.create('import');
  await started.promise;
  jobs.clock.nowMs += 29_000;
  const leaseEnd = async (): Promise<number | null> => {
    const row = await database.kysely.selectFrom('jobs').select('lease_until_ms').executeTakeFirstOrThrow();
    return row.lease_until_ms;
  };
  while ((await leaseEnd()) !== jobs.clock.nowMs + 30_000) await setImmediate();
  jobs.clock.nowMs += 29_000;
  assert.equal(await jobs.queue.claim({ owner: 'other', kinds: ['import'], leaseMs: 1 }), undefined);
  proceed.resolve();
  assert.equal((await waitForJob(jobs.queue, created)).state, 'succeeded');
  await runner.stop();
});

forEachEngine('one worker of several waits for the end of a dead one’s lease', async (open) => {
  const jobs = await makeQueue(await open());
  const created = await jobs.create('import');
  const dead = await jobs.queue.claim({ owner: 'dead', kinds: ['import'], leaseMs: 30_000 });
  await dead?.saveCheckpoint('half');
  const handlers: JobHandlers = { import: async ({ checkpoint }) => checkpoint ?? null };
  const runner = makeRunner(jobs, handlers, { soleWorker: false });
  await runner.start();
  // Another job goes through while the dead one's is left alone.
  await waitForJob(jobs.queue, await jobs.create('import'));
  assert.equal((await jobs.queue.get(jobs.tenancyId, created.id)).state, 'running');
  jobs.clock.nowMs += 30_000;
  runner.wake();
  assert.equal((await waitForJob(jobs.queue, created)).result, 'half');
  await runner.stop();
});

forEachEngine('a job that kills worker after worker is not given to more', async (open) => {
  const jobs = await makeQueue(await open());
  const created = await jobs.create('import');
  for (let death = 0; death <= MAX_LOST_WORKERS; death += 1) {
    assert.ok(await jobs.queue.claim({ owner: 'dying', kinds: ['import'], leaseMs: 30_000 }));
    await jobs.queue.endAllLeases();
  }
  const runner = makeRunner(jobs, { import: async () => 'survived' });
  await runner.start();
  const job = await waitForJob(jobs.queue, created);
  assert.deepEqual([job.state, job.error?.code], ['failed', 'WORKER_LOST']);
  await jobs.queue.retry(jobs.tenancyId, job.id);
  assert.equal((await waitForJob(jobs.queue, created)).result, 'survived');
  await runner.stop();
});

forEachEngine('what a handler writes at its success comes with it, once', async (open) => {
  const database = await open();
  const jobs = await makeQueue(database);
  const runner = makeRunner(jobs, {
    import: async (context) => {
      context.atSuccess(async (transaction) => {
        await makeTenancy(transaction, `made by ${context.job.kind}`);
      });
      if (context.job.attempt === 1) throw new StoreError('STORE_IO', 'a bad cable', { where: 'disk' });
      return null;
    },
  });
  await runner.start();
  assert.equal((await waitForJob(jobs.queue, await jobs.create('import'))).state, 'succeeded');
  const names = await database.kysely.selectFrom('tenancies').select('name').orderBy('id').execute();
  assert.deepEqual(names, [{ name: 'main' }, { name: 'made by import' }]);
  await runner.stop();
});

forEachEngine('what comes after a success is done once, and whatever comes of it', async (open) => {
  const jobs = await makeQueue(await open());
  const logger = makeLogger();
  const tidied: string[] = [];
  const handler: JobHandler = async (context) => {
    context.afterSuccess(async () => {
      tidied.push(`${context.input}: ${(await jobs.queue.get(jobs.tenancyId, context.job.id)).state}`);
      throw new Error('a stubborn file');
    });
    if (context.input === 'failing') throw new DomainError('INVALID', 'no');
    return null;
  };
  const runner = makeRunner(jobs, { import: handler }, { logger });
  await runner.start();
  assert.equal((await waitForJob(jobs.queue, await jobs.create('import', 'failing'))).state, 'failed');
  const { id } = await waitForJob(jobs.queue, await jobs.create('import', 'working'));
  await runner.stop();
  assert.equal((await jobs.queue.get(jobs.tenancyId, id)).state, 'succeeded');
  assert.deepEqual(tidied, ['working: succeeded']);
  assert.deepEqual(
    logger.entries.map((entry) => entry.message),
    ['a job that succeeded was not tidied up'],
  );
});

forEachEngine('a handler that logs without end fills no database', async (open) => {
  const jobs = await makeQueue(await open());
  const runner = makeRunner(jobs, {
    import: async (context) => {
      for (let line = 0; line < MAX_LOG_LINES + 50; line += 1) context.log('info', 'x'.repeat(10_000));
      throw new DomainError('INVALID', 'enough');
    },
  });
  await runner.start();
  const job = await waitForJob(jobs.queue, await jobs.create('import'));
  const lines = await messages(jobs, job.id);
  assert.equal(lines.length, MAX_LOG_LINES + 1);
  assert.ok(lines.every((line) => line.length <= 4000));
  assert.match(lines.at(-2) ?? '', /left out/);
  assert.equal(lines.at(-1), 'INVALID: enough');
  await runner.stop();
});

forEachEngine(
  'a job whose end cannot be written is left to its lease, and the runner stops',
  async (open) => {
    const database = await open();
    const jobs = await makeQueue(database);
    const logger = makeLogger();
    const started = Promise.withResolvers<void>();
    const proceed = Promise.withResolvers<void>();
    const handler: JobHandler = async () => {
      started.resolve();
      await proceed.promise;
      return null;
    };
    const runner = makeRunner(jobs, { import: handler }, { logger });
    await runner.start();
    await jobs.create('import');
    await started.promise;
    await sql`ALTER TABLE jobs RENAME TO lost`.execute(database.kysely);
    proceed.resolve();
    await runner.stop();
    assert.match(logger.entries.map((entry) => entry.message).join(), /a job's end was not written/);
  },
);
