import { newId } from '../db/ids.ts';
import {
  findTenancyByName,
  findUserByName,
  insertTenancy,
  insertUser,
} from '../db/repositories/tenancies.ts';
import type { TenancyRow, UserRow } from '../db/schema.ts';
import { inTransaction, type Queries } from '../db/transactions.ts';
import { makeToken } from './tokens.ts';

const FIRST_TENANCY = 'main';
const FIRST_USER = 'admin';

export interface FirstStart {
  readonly tenancy: TenancyRow;
  readonly administrator: UserRow;
  /** The administrator's token, on the very first start of this database only. */
  readonly token: string | undefined;
}

/**
 * Makes sure that there is a tenancy and its administrator. On the very first start it makes the
 * administrator's token too and gives it to `deliver` (which writes the client's profile) before anything is
 * committed: when that fails, or the process dies meanwhile, the next start is the first again. `deliver`
 * must not use the database.
 */
export function ensureFirstStart(
  queries: Queries,
  deliver: (token: string) => Promise<void> = async () => {},
): Promise<FirstStart> {
  return inTransaction(queries, async (transaction) => {
    const nowMs = Date.now();
    await insertTenancy(transaction, { id: newId('ten'), name: FIRST_TENANCY, created_at_ms: nowMs });
    const tenancy = required(await findTenancyByName(transaction, FIRST_TENANCY));
    const isFirst = await insertUser(transaction, {
      id: newId('usr'),
      tenancy_id: tenancy.id,
      name: FIRST_USER,
      role: 'administrator',
      created_at_ms: nowMs,
    });
    const administrator = required(await findUserByName(transaction, tenancy.id, FIRST_USER));
    if (!isFirst) return { tenancy, administrator, token: undefined };
    const { token } = await makeToken(transaction, { userId: administrator.id, label: 'first start' });
    await deliver(token);
    return { tenancy, administrator, token };
  });
}

function required<Row>(row: Row | undefined): Row {
  if (row === undefined) throw new Error('a row that was just written is not there');
  return row;
}
