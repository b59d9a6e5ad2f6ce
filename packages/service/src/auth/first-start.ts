import { newId } from '../db/ids.ts';
import { insertCompartment } from '../db/repositories/compartments.ts';
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
    await makeTenancy(transaction, FIRST_TENANCY, nowMs);
    const tenancy = required(await findTenancyByName(transaction, FIRST_TENANCY));
    const isFirst = await insertUser(transaction, {
      id: newId('usr'),
      tenancy_id: tenancy.id,
      name: FIRST_USER,
      role: 'administrator',
      created_at_ms: nowMs,
      description: '',
      email: null,
    });
    const administrator = required(await findUserByName(transaction, tenancy.id, FIRST_USER));
    if (!isFirst) return { tenancy, administrator, token: undefined };
    const { token } = await makeToken(transaction, { userId: administrator.id, label: 'first start' });
    await deliver(token);
    return { tenancy, administrator, token };
  });
}

/** A tenancy with its root compartment, whose id is its own. False when there is one of that name. */
export async function makeTenancy(transaction: Queries, name: string, nowMs: number): Promise<boolean> {
  const id = newId('ten');
  if (!(await insertTenancy(transaction, { id, name, namespace: name, created_at_ms: nowMs }))) return false;
  await insertCompartment(transaction, {
    id,
    tenancy_id: id,
    parent_id: null,
    name,
    description: '',
    freeform_tags_json: '{}',
    defined_tags_json: '{}',
    version: 1,
    created_at_ms: nowMs,
    deleted_at_ms: null,
  });
  return true;
}

function required<Row>(row: Row | undefined): Row {
  if (row === undefined) throw new Error('a row that was just written is not there');
  return row;
}
