import assert from 'node:assert/strict';
import { forEachEngine } from '../engines.testkit.ts';
import { findJobSecret, forgetJobSecrets, insertJobSecret } from './job-secrets.ts';
import { insertJob } from './jobs.ts';
import { jobRow, makeTenancy } from './rows.testkit.ts';

forEachEngine('secrets of jobs that ended a while ago are forgotten, others are kept', async (open) => {
  const { kysely } = await open();
  const { id: tenancyId } = await makeTenancy(kysely);
  const [failed, recent, running] = [
    jobRow(tenancyId, { state: 'failed', finished_at_ms: 5 }),
    jobRow(tenancyId, { state: 'failed', finished_at_ms: 20 }),
    jobRow(tenancyId, { state: 'running' }),
  ];
  for (const row of [failed, recent, running]) {
    await insertJob(kysely, row!);
    await insertJobSecret(kysely, row!.id, `of ${row!.id}`);
  }
  await forgetJobSecrets(kysely, 10);
  assert.equal(await findJobSecret(kysely, failed!.id), undefined);
  assert.equal(await findJobSecret(kysely, recent!.id), `of ${recent!.id}`);
  assert.equal(await findJobSecret(kysely, running!.id), `of ${running!.id}`);
});
