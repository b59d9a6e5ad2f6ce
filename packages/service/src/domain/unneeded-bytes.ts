import { StoreError } from '@gantry/disk';
import type { ObjectStore } from '@gantry/storage';
import type { Database } from '../db/database.ts';
import { liveJobs } from '../db/repositories/jobs.ts';
import { neededStoredNames } from '../db/repositories/object-parts.ts';
import { exportCheckpoint } from './export-pieces.ts';

/** Names that one query asks about. */
const NAMES_AT_ONCE = 500;

/**
 * Deletes bytes that no object and no upload refers to: what a crash left between storing and the catalogue, on
 * the way in or out. Only before the service takes its first request: bytes that were stored a moment ago are
 * not in the catalogue yet. What interrupted exports go on from is kept. Returns how many pieces were deleted.
 */
export async function deleteUnneededBytes(database: Database, store: ObjectStore): Promise<number> {
  const held = await heldByExports(database);
  let deleted = 0;
  const sweep = async (names: readonly string[]) => {
    if (names.length === 0) return;
    const needed = await neededStoredNames(database.kysely, names);
    const unneeded = names.filter((name) => !needed.has(name) && !held.has(name));
    await store.delete(unneeded);
    deleted += unneeded.length;
  };
  let names: string[] = [];
  for await (const name of store.names()) {
    names.push(name);
    if (names.length < NAMES_AT_ONCE) continue;
    await sweep(names);
    names = [];
  }
  await sweep(names);
  return deleted;
}

/**
 * Bytes come from tenants: with none in the catalogue, nothing here was stored with this database. Throws
 * STORE_REFUSED then, before anything is written to either.
 */
export async function requireCatalogueOf(store: ObjectStore, database: Database): Promise<void> {
  const tenancy = await database.kysely.selectFrom('tenancies').select('id').limit(1).executeTakeFirst();
  if (tenancy !== undefined) return;
  for await (const name of store.names()) {
    throw new StoreError('STORE_REFUSED', 'the data folder holds objects, and its database is a new one', {
      where: name,
      hint: 'start with the database that was used with this folder, or choose another data folder',
    });
  }
}

/** Pieces that the checkpoints of exports name: they are in no object yet. */
async function heldByExports(database: Database): Promise<Set<string>> {
  const held = new Set<string>();
  for (const { checkpoint_json: json } of await liveJobs(database.kysely)) {
    const checkpoint = exportCheckpoint.safeParse(json === null ? null : JSON.parse(json));
    if (!checkpoint.success) continue;
    for (const piece of checkpoint.data.pieces) held.add(piece.name);
    if (checkpoint.data.state !== undefined) held.add(checkpoint.data.state.name);
  }
  return held;
}
