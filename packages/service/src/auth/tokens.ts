import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { newId } from '../db/ids.ts';
import { findTokenOwner, insertToken } from '../db/repositories/tokens.ts';
import type { UserRole } from '../db/schema.ts';
import type { Queries } from '../db/transactions.ts';

/** Who asks: what every dialect's authentication ends in. */
export interface Principal {
  readonly userId: string;
  readonly tenancyId: string;
  readonly role: UserRole;
}

/** Tells what leaked, to people and to secret scanners. */
const PREFIX = 'gantry_';
const SECRET_BYTES = 32;
const SHAPE = /^gantry_[A-Za-z0-9_-]{43}$/;

/** Makes a bearer token. It is shown here and never again: only its hash is stored. */
export async function makeToken(
  queries: Queries,
  owner: { userId: string; label: string },
): Promise<{ readonly id: string; readonly token: string }> {
  const token = PREFIX + randomBytes(SECRET_BYTES).toString('base64url');
  const id = newId('tok');
  await insertToken(queries, {
    id,
    user_id: owner.userId,
    token_sha256: hashToken(token).toString('hex'),
    label: owner.label,
    created_at_ms: Date.now(),
    revoked_at_ms: null,
  });
  return { id, token };
}

/**
 * Whose token this is; undefined for what is no token, unknown or revoked. The time that it takes tells
 * nothing about tokens: they are looked up by hash, which nobody can steer, and compared in constant time.
 */
export async function verifyToken(queries: Queries, token: string): Promise<Principal | undefined> {
  if (!SHAPE.test(token)) return undefined;
  const hash = hashToken(token);
  const owner = await findTokenOwner(queries, hash.toString('hex'));
  if (owner === undefined || !timingSafeEqual(hash, Buffer.from(owner.token_sha256, 'hex'))) return undefined;
  return { userId: owner.id, tenancyId: owner.tenancy_id, role: owner.role };
}

function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
