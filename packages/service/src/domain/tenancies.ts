import { makeTenancy } from '../auth/first-start.ts';
import { makeToken, type Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { findTenancy, findTenancyByName, insertUser, listTenancies } from '../db/repositories/tenancies.ts';
import type { TenancyRow } from '../db/schema.ts';
import { inTransaction } from '../db/transactions.ts';
import type { Access } from './access.ts';
import { DomainError } from './errors.ts';
import { newUserRow, toUser, type User } from './users.ts';

/** All that one customer has: a tenancy (OCI), an account. */
export interface Tenancy {
  readonly id: string;
  readonly name: string;
  /** Object storage's name for it. */
  readonly namespace: string;
  readonly createdAtMs: number;
}

/** A namespace stands in paths and in names of hosts. */
const NAME = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;
const NAME_CHARACTERS_MAX = 63;

/** The tenancies of this service. They know nothing of each other. */
export class Tenancies {
  readonly #database: Database;
  readonly #access: Access;

  constructor(database: Database, access: Access) {
    this.#database = database;
    this.#access = access;
  }

  /** The principal's own. */
  async get({ tenancyId }: Principal): Promise<Tenancy> {
    const row = await findTenancy(this.#database.kysely, tenancyId);
    if (row === undefined) throw new DomainError('NOT_FOUND', 'the tenancy is gone');
    return toTenancy(row);
  }

  /** All of them for the operator, the own one for others; oldest first. */
  async list(principal: Principal): Promise<Tenancy[]> {
    if (!(await this.#access.isOperator(principal))) return [await this.get(principal)];
    return (await listTenancies(this.#database.kysely)).map(toTenancy);
  }

  /**
   * Makes a tenancy with an administrator, whose token is told here and never again. Throws FORBIDDEN unless the
   * operator asks, INVALID for names that are none, CONFLICT when there is one of that name.
   */
  async create(
    principal: Principal,
    { name, administratorName }: { readonly name: string; readonly administratorName: string },
  ): Promise<{ readonly tenancy: Tenancy; readonly administrator: User; readonly token: string }> {
    await this.#access.requireOperator(principal, 'only administrators of the first tenancy make others');
    if (name.length > NAME_CHARACTERS_MAX || !NAME.test(name)) {
      throw new DomainError('INVALID', `${JSON.stringify(name)} cannot be a tenancy's name`, {
        hint: `take 1 to ${NAME_CHARACTERS_MAX} small letters, digits and hyphens`,
      });
    }
    return inTransaction(this.#database.kysely, async (transaction) => {
      const isNew = await makeTenancy(transaction, name, Date.now());
      const row = await findTenancyByName(transaction, name);
      if (!isNew || row === undefined)
        throw new DomainError('CONFLICT', `there is a tenancy ${name} already`);
      const user = newUserRow(row.id, { name: administratorName, role: 'administrator' });
      await insertUser(transaction, user);
      const { token } = await makeToken(transaction, { userId: user.id, label: 'new tenancy' });
      return { tenancy: toTenancy(row), administrator: toUser(user), token };
    });
  }
}

function toTenancy(row: TenancyRow): Tenancy {
  return { id: row.id, name: row.name, namespace: row.namespace, createdAtMs: row.created_at_ms };
}
