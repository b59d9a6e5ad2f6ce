import { makeToken, type Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import { deleteUser, findUser, insertUser, listUsers } from '../db/repositories/tenancies.ts';
import type { UserRole, UserRow } from '../db/schema.ts';
import { inTransaction } from '../db/transactions.ts';
import type { Access } from './access.ts';
import { DomainError } from './errors.ts';

export interface User {
  readonly id: string;
  readonly tenancyId: string;
  readonly name: string;
  readonly role: UserRole;
  readonly description: string;
  readonly email: string | undefined;
  readonly createdAtMs: number;
}

export interface NewUser {
  readonly name: string;
  readonly role?: UserRole | undefined;
  readonly description?: string | undefined;
  readonly email?: string | undefined;
}

// Oracle's API reference, CreateUserDetails.
const NAME = /^[A-Za-z0-9._@+-]{1,100}$/;
const TEXT_CHARACTERS_MAX = 400;

/**
 * A tenancy's users. Everybody sees the own user; others by the grant to inspect users in the root compartment, and
 * with that to manage users changes them. Only an administrator touches administrators.
 */
export class Users {
  readonly #database: Database;
  readonly #access: Access;

  constructor(database: Database, access: Access) {
    this.#database = database;
    this.#access = access;
  }

  /** By name. Those that the principal may see. */
  async list(principal: Principal): Promise<User[]> {
    const rows = await listUsers(this.#database.kysely, principal.tenancyId);
    const all = await this.#access.allows(principal, 'inspect', 'users', principal.tenancyId);
    return rows.filter((row) => all || row.id === principal.userId).map(toUser);
  }

  /** Throws NOT_FOUND. */
  async get(principal: Principal, id: string): Promise<User> {
    return toUser(await this.#see(principal, id));
  }

  /** Throws NOT_FOUND to who may not see users, FORBIDDEN to who may not make this one, INVALID, CONFLICT. */
  async create(
    principal: Principal,
    user: NewUser,
  ): Promise<{ readonly user: User; readonly token: string }> {
    await this.#access.demand(principal, 'manage', 'users', principal.tenancyId, notAllowed);
    if (user.role === 'administrator') requireAdministrator(principal);
    const row = newUserRow(principal.tenancyId, user);
    return inTransaction(this.#database.kysely, async (transaction) => {
      if (!(await insertUser(transaction, row))) {
        throw new DomainError('CONFLICT', `there is a user ${row.name} already`);
      }
      const { token } = await makeToken(transaction, { userId: row.id, label: 'new user' });
      return { user: toUser(row), token };
    });
  }

  /** Deletes a user with its tokens, keys, grants and pre-authenticated requests; what it made stays. */
  async delete(principal: Principal, id: string): Promise<void> {
    await this.requireManaged(principal, id);
    if (id === principal.userId) throw new DomainError('CONFLICT', 'nobody can delete oneself');
    await deleteUser(this.#database.kysely, id);
  }

  /** A user whose keys and tokens the principal may change: the own, or one that it manages. */
  async requireOwnOrManaged(principal: Principal, id: string): Promise<User> {
    return id === principal.userId ? this.get(principal, id) : this.requireManaged(principal, id);
  }

  /** Throws NOT_FOUND for a user that cannot be seen, FORBIDDEN for one that cannot be changed. */
  async requireManaged(principal: Principal, id: string): Promise<User> {
    const row = await this.#see(principal, id);
    await this.#access.demand(principal, 'manage', 'users', principal.tenancyId, () => noUser(id));
    if (row.role === 'administrator') requireAdministrator(principal);
    return toUser(row);
  }

  async #see(principal: Principal, id: string): Promise<UserRow> {
    const row = await findUser(this.#database.kysely, id);
    if (row === undefined || row.tenancy_id !== principal.tenancyId) throw noUser(id);
    if (id === principal.userId) return row;
    await this.#access.require(principal, 'inspect', 'users', principal.tenancyId, () => noUser(id));
    return row;
  }
}

/** Throws FORBIDDEN to members. */
export function requireAdministrator({ role }: Principal): void {
  if (role !== 'administrator') throw new DomainError('FORBIDDEN', 'only administrators may do this');
}

/** Throws INVALID. */
export function newUserRow(tenancyId: string, { name, role, description = '', email }: NewUser): UserRow {
  if (!NAME.test(name)) {
    throw new DomainError('INVALID', `${JSON.stringify(name)} cannot be a user's name`, {
      hint: 'take 1 to 100 letters, digits and . _ @ + -',
    });
  }
  if (description.length > TEXT_CHARACTERS_MAX || (email?.length ?? 0) > TEXT_CHARACTERS_MAX) {
    throw new DomainError('INVALID', `descriptions have at most ${TEXT_CHARACTERS_MAX} characters`);
  }
  return {
    id: newId('usr'),
    tenancy_id: tenancyId,
    name,
    role: role ?? 'member',
    created_at_ms: Date.now(),
    description,
    email: email ?? null,
  };
}

export function toUser(row: UserRow): User {
  return {
    id: row.id,
    tenancyId: row.tenancy_id,
    name: row.name,
    role: row.role,
    description: row.description,
    email: row.email ?? undefined,
    createdAtMs: row.created_at_ms,
  };
}

function noUser(id: string): DomainError {
  return new DomainError('NOT_FOUND', `there is no user ${id}`);
}

function notAllowed(): DomainError {
  return new DomainError('FORBIDDEN', 'this needs the grant to manage users in the root compartment');
}
