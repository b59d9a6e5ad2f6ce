import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { deleteApiKey, insertApiKey, listApiKeys } from '../db/repositories/api-keys.ts';
import type { ApiKeyRow } from '../db/schema.ts';
import { DomainError } from './errors.ts';
import type { Users } from './users.ts';

/** The public half of a key pair with which a user signs requests. */
export interface ApiKey {
  /** MD5 of the DER SubjectPublicKeyInfo, hex in pairs with colons. */
  readonly fingerprint: string;
  readonly userId: string;
  readonly publicKeyPem: string;
  readonly createdAtMs: number;
}

/** OCI takes none below (Required Keys and OCIDs). */
const BITS_MIN = 2048;
/** Each request is verified with its key: the time for that grows with the square of its size. */
const BITS_MAX = 8192;
const PEM_CHARACTERS_MAX = 4096;
/** A person's machines have a key each; OCI allows three. */
const KEYS_MAX = 50;

/** The API keys of users: everybody the own ones, and those of users that the principal manages. */
export class ApiKeys {
  readonly #database: Database;
  readonly #users: Users;

  constructor(database: Database, users: Users) {
    this.#database = database;
    this.#users = users;
  }

  /** Oldest first. Throws NOT_FOUND. */
  async list(principal: Principal, userId: string): Promise<ApiKey[]> {
    await this.#users.get(principal, userId);
    return (await listApiKeys(this.#database.kysely, userId)).map(toApiKey);
  }

  /** Throws NOT_FOUND, FORBIDDEN, INVALID for what is no public key that is taken, CONFLICT when it is there. */
  async upload(principal: Principal, userId: string, pem: string): Promise<ApiKey> {
    await this.#users.requireOwnOrManaged(principal, userId);
    const key = readPublicKey(pem);
    if ((await listApiKeys(this.#database.kysely, userId)).length >= KEYS_MAX) {
      throw new DomainError('CONFLICT', `a user has at most ${KEYS_MAX} API keys`, {
        hint: 'delete one that is not used any more',
      });
    }
    const row: ApiKeyRow = {
      fingerprint: fingerprintOf(key),
      user_id: userId,
      public_key_pem: key.export({ type: 'spki', format: 'pem' }).toString(),
      created_at_ms: Date.now(),
    };
    if (await insertApiKey(this.#database.kysely, row)) return toApiKey(row);
    throw new DomainError('CONFLICT', `the user has the key ${row.fingerprint} already`);
  }

  /** Throws NOT_FOUND, FORBIDDEN. */
  async delete(principal: Principal, userId: string, fingerprint: string): Promise<void> {
    await this.#users.requireOwnOrManaged(principal, userId);
    if (await deleteApiKey(this.#database.kysely, userId, fingerprint.toLowerCase())) return;
    throw new DomainError('NOT_FOUND', `the user has no key ${fingerprint}`);
  }
}

function readPublicKey(pem: string): KeyObject {
  if (pem.includes('PRIVATE KEY')) {
    throw new DomainError('INVALID', 'this is a private key: it must not leave its owner', {
      hint: 'make a new pair, and send the public key alone',
    });
  }
  const refusal = (why: string) =>
    new DomainError('INVALID', `the key ${why}`, {
      hint: `send an RSA public key of ${BITS_MIN} to ${BITS_MAX} bits in PEM form`,
    });
  if (pem.length > PEM_CHARACTERS_MAX || !/^\s*-----BEGIN (?:RSA )?PUBLIC KEY-----/.test(pem)) {
    throw refusal('is no public key in PEM form');
  }
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch {
    throw refusal('cannot be read');
  }
  const bits = key.asymmetricKeyDetails?.modulusLength;
  if (key.asymmetricKeyType !== 'rsa' || bits === undefined) throw refusal('is not of RSA');
  if (bits < BITS_MIN || bits > BITS_MAX) throw refusal(`has ${bits} bits`);
  return key;
}

function fingerprintOf(key: KeyObject): string {
  const md5 = createHash('md5')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex');
  return md5.replace(/..(?!$)/g, '$&:');
}

function toApiKey(row: ApiKeyRow): ApiKey {
  return {
    fingerprint: row.fingerprint,
    userId: row.user_id,
    publicKeyPem: row.public_key_pem,
    createdAtMs: row.created_at_ms,
  };
}
