import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { forEachEngine } from '../db/engines.testkit.ts';
import { makeLogger, makeQueue, waitForJob } from './jobs.testkit.ts';
import { copyInParts, PART_COUNT } from './killed.testkit.ts';
import { JobRunner } from './runner.ts';

/** Runs a worker in a process of its own, and kills it when it has saved its checkpoint of `part`. */
async function killAfter(part: number, address: string): Promise<void> {
  const script = `const { runVictim } = await import(process.argv[1]);
    await runVictim(process.argv[2], Number(process.argv[3]));`;
  const module = import.meta.resolve('./killed.testkit.ts');
  const victim = spawn(
    process.execPath,
    ['--conditions=source', '--input-type=module', '-e', script, module, address, String(part)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const exited = new Promise((resolve) => victim.once('exit', (_, signal) => resolve(signal)));
  for await (const line of createInterface({ input: victim.stdout })) {
    if (line === `saved ${part}`) victim.kill('SIGKILL');
  }
  assert.equal(await exited, 'SIGKILL');
}

forEachEngine('a job whose process is killed goes on after its last checkpoint', async (open, addressOf) => {
  const database = await open();
  const jobs = await makeQueue(database);
  const created = await jobs.create('copy');
  for (const part of [1, 3]) {
    await killAfter(part, addressOf(database));
    const left = await jobs.queue.get(jobs.tenancyId, created.id);
    assert.deepEqual([left.state, left.checkpoint], ['running', part]);
  }
  const runner = new JobRunner({
    queue: jobs.queue,
    handlers: { copy: (context) => copyInParts(context, async () => {}) },
    logger: makeLogger(),
    soleWorker: true,
  });
  await runner.start();
  const job = await waitForJob(jobs.queue, created);
  await runner.stop();
  assert.deepEqual([job.state, job.attempt, job.result], ['succeeded', 3, [4, PART_COUNT]]);
});
