import { openDatabase } from '../db/database.ts';
import type { JsonValue } from '../json.ts';
import type { JobContext } from './handler.ts';
import { makeLogger } from './jobs.testkit.ts';
import { JobQueue } from './queue.ts';
import { JobRunner } from './runner.ts';

export const PART_COUNT = 5;

/** A job of some parts with a checkpoint for each. Its result are the parts that this process sent. */
export async function copyInParts(
  context: JobContext,
  onSaved: (part: number) => Promise<void>,
): Promise<JsonValue> {
  const done = Number(context.checkpoint ?? 0);
  const sent: number[] = [];
  await context.phase('copy', PART_COUNT, done);
  for (let part = done + 1; part <= PART_COUNT; part += 1) {
    sent.push(part);
    context.progress(part);
    await context.saveCheckpoint(part);
    await onSaved(part);
  }
  return sent;
}

/** A worker that is there to be killed: when it has saved `lastPart`, it says so and does nothing more. */
export async function runVictim(address: string, lastPart: number): Promise<void> {
  const onSaved = async (part: number): Promise<void> => {
    if (part < lastPart) return;
    process.stdout.write(`saved ${part}\n`);
    await new Promise(() => {});
  };
  const runner = new JobRunner({
    queue: new JobQueue(await openDatabase(address)),
    handlers: { copy: (context) => copyInParts(context, onSaved) },
    logger: makeLogger(),
    soleWorker: true,
  });
  await runner.start();
}
