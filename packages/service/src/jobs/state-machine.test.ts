import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Database } from '../db/database.ts';
import { forEachEngine } from '../db/engines.testkit.ts';
import { LeaseLost } from './interruptions.ts';
import type { JobState } from './job.ts';
import { makeQueue, type QueueWithTenancy } from './jobs.testkit.ts';
import type { JobLease } from './lease.ts';

const LEASE_MS = 1000;

type Step =
  | { readonly do: 'create' | 'claim' | 'endAllLeases' }
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'cancel' | 'retry'; readonly job: number }
  | { readonly do: LeaseStep; readonly lease: number };
const leaseSteps = ['heartbeat', 'checkpoint', 'succeed', 'fail', 'end', 'release', 'postpone'] as const;
type LeaseStep = (typeof leaseSteps)[number];

const index = fc.nat({ max: 1000 });
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Step>({ do: 'claim' }) },
  { weight: 2, arbitrary: fc.constant<Step>({ do: 'create' }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: 'endAllLeases' }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat({ max: 900 }) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('cancel', 'retry'), job: index }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constantFrom(...leaseSteps), lease: index }) },
);

interface ModelJob {
  readonly id: string;
  state: JobState;
  cancelRequested: boolean;
  checkpoint: number | undefined;
  notBeforeMs: number;
  leaseUntilMs: number;
  /** The one lease that may write. */
  holder: JobLease | undefined;
}

/** What the queue should do, said in the simplest way: jobs in an array, one step at a time. */
class Model {
  readonly jobs: ModelJob[] = [];
  readonly leases: JobLease[] = [];
  readonly #real: QueueWithTenancy;
  #checkpoint = 0;

  constructor(real: QueueWithTenancy) {
    this.#real = real;
  }

  async run(step: Step): Promise<void> {
    const { queue, create, clock } = this.#real;
    if (step.do === 'create') {
      const { id } = await create('import');
      this.jobs.push({
        id,
        state: 'queued',
        cancelRequested: false,
        checkpoint: undefined,
        notBeforeMs: 0,
        leaseUntilMs: 0,
        holder: undefined,
      });
    } else if (step.do === 'wait') clock.nowMs += step.ms;
    else if (step.do === 'claim') await this.#claim();
    else if (step.do === 'endAllLeases') {
      await queue.endAllLeases();
      for (const job of this.jobs) if (job.state === 'running') this.#end(job, 'queued');
    } else if ('job' in step) {
      const job = this.jobs[step.job % this.jobs.length];
      if (job !== undefined) await (step.do === 'cancel' ? this.#cancel(job) : this.#retry(job));
    } else if ('lease' in step) {
      const lease = this.leases[step.lease % this.leases.length];
      if (lease !== undefined) await this.#write(lease, step.do);
    }
  }

  #end(job: ModelJob, state: JobState): void {
    // What is to be canceled waits for a worker that lets go of what was begun.
    const waits = state === 'queued' && job.checkpoint !== undefined;
    job.state = job.cancelRequested && !waits ? 'canceled' : state;
    if (!waits) job.cancelRequested = false;
    job.holder = undefined;
  }

  async #claim(): Promise<void> {
    const { nowMs } = this.#real.clock;
    const expected = this.jobs.find(
      (job) =>
        (job.state === 'queued' && job.notBeforeMs <= nowMs) ||
        (job.state === 'running' && job.leaseUntilMs <= nowMs),
    );
    const lease = await this.#real.queue.claim({ owner: 'w', kinds: ['import'], leaseMs: LEASE_MS });
    assert.equal(lease?.job.id, expected?.id);
    if (lease === undefined || expected === undefined) return;
    assert.equal(lease.job.checkpoint, expected.checkpoint);
    this.leases.push(lease);
    expected.state = 'running';
    expected.leaseUntilMs = nowMs + LEASE_MS;
    expected.holder = lease;
  }

  async #cancel(job: ModelJob): Promise<void> {
    const canceling = this.#real.queue.cancel(this.#real.tenancyId, job.id);
    if (job.state === 'succeeded' || job.state === 'failed') {
      await assert.rejects(canceling, { code: 'CONFLICT' });
      return;
    }
    await canceling;
    if (job.state === 'running' || (job.state === 'queued' && job.checkpoint !== undefined)) {
      job.cancelRequested = true;
      if (job.state === 'queued') job.notBeforeMs = 0;
    } else job.state = 'canceled';
  }

  async #retry(job: ModelJob): Promise<void> {
    const retrying = this.#real.queue.retry(this.#real.tenancyId, job.id);
    if (job.state !== 'failed' && job.state !== 'canceled') {
      await assert.rejects(retrying, { code: 'CONFLICT' });
      return;
    }
    await retrying;
    job.state = 'queued';
    job.notBeforeMs = 0;
  }

  async #write(lease: JobLease, step: LeaseStep): Promise<void> {
    const { nowMs } = this.#real.clock;
    const checkpoint = ++this.#checkpoint;
    const writes: Record<LeaseStep, () => Promise<unknown>> = {
      heartbeat: () => lease.heartbeat(LEASE_MS),
      checkpoint: () => lease.saveCheckpoint(checkpoint),
      succeed: () => lease.succeed(null),
      fail: () => lease.fail({ code: 'INTERNAL', message: '', hint: null }),
      end: () => lease.cancel(),
      release: () => lease.release(),
      postpone: () => lease.postpone(nowMs + 500),
    };
    const job = this.jobs.find((each) => each.holder === lease);
    if (job === undefined) {
      await assert.rejects(writes[step], LeaseLost);
      return;
    }
    await writes[step]();
    const isCanceled = job.cancelRequested;
    if (step === 'heartbeat') job.leaseUntilMs = nowMs + LEASE_MS;
    if (step === 'checkpoint') job.checkpoint = checkpoint;
    if (step === 'succeed') this.#end(job, 'succeeded');
    if (step === 'fail') this.#end(job, 'failed');
    if (step === 'end') this.#end(job, 'canceled');
    if (step === 'release' || step === 'postpone') {
      this.#end(job, 'queued');
      job.notBeforeMs = step === 'release' || isCanceled ? 0 : nowMs + 500;
    }
  }

  async compare(): Promise<void> {
    const { items } = await this.#real.queue.list({ tenancyId: this.#real.tenancyId, limit: 100 });
    assert.deepEqual(
      items.map(({ id, state, cancelRequested, checkpoint }) => ({ id, state, cancelRequested, checkpoint })),
      this.jobs
        .toReversed()
        .map(({ id, state, cancelRequested, checkpoint }) => ({ id, state, cancelRequested, checkpoint })),
    );
  }
}

async function runSteps(database: Database, real: QueueWithTenancy, steps: readonly Step[]): Promise<void> {
  await database.kysely.deleteFrom('jobs').execute();
  const model = new Model(real);
  await model.run({ do: 'create' });
  for (const step of steps) {
    await model.run(step);
    await model.compare();
  }
}

forEachEngine(
  'any sequence of claims, writes, cancels and retries does what the model does',
  async (open) => {
    const database = await open();
    const real = await makeQueue(database);
    const numRuns = database.engine === 'sqlite' ? 60 : 25;
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { minLength: 10, maxLength: 40 }), (steps) =>
        runSteps(database, real, steps),
      ),
      { numRuns },
    );
  },
);
