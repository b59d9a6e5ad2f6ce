import assert from 'node:assert/strict';
import { refusalOf } from '../api/native/errors.ts';
import { forEachEngine } from '../db/engines.testkit.ts';
import { newId } from '../db/ids.ts';
import { makeTenancy } from '../db/repositories/rows.testkit.ts';
import { toJobError } from '../jobs/job-error.ts';
import { refusedByDatabase } from './errors.ts';

forEachEngine('what was deleted or taken meanwhile is a conflict, and no fault of ours', async (open) => {
  const { kysely } = await open();
  const { id } = await makeTenancy(kysely);
  const absent = {
    id: newId('tok'),
    user_id: newId('usr'),
    token_sha256: 'a',
    label: '',
    created_at_ms: 1,
    revoked_at_ms: null,
  };
  const taken = { id, name: 'other', namespace: 'other', created_at_ms: 1 };
  const thrown = [
    await kysely.insertInto('tokens').values(absent).execute().catch(Object),
    await kysely.insertInto('tenancies').values(taken).execute().catch(Object),
    await kysely
      .insertInto('tenancies')
      .values({ ...taken, id: newId('ten'), namespace: 'main' })
      .execute()
      .catch(Object),
  ];
  for (const error of thrown) {
    assert.equal(refusedByDatabase(error)?.cause, error);
    assert.equal(refusalOf(error).status, 409);
    assert.deepEqual([refusalOf(error).code, toJobError(error).code], ['CONFLICT', 'CONFLICT']);
  }
  assert.equal(refusedByDatabase(new Error('x')), undefined);
  assert.equal(refusalOf(new Error('x')).status, 500);
});
