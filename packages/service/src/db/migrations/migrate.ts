import { Migrator } from 'kysely/migration';
import type { Database } from '../database.ts';
import { firstCargo } from './0001-first-cargo.ts';
import { tenanciesAndSharing } from './0002-tenancies-and-sharing.ts';
import { runningInstances } from './0003-running-instances.ts';

/** Applies what is missing, in order, in transactions. Throws the first failure. */
export async function migrateToLatest(database: Database): Promise<void> {
  const migrator = new Migrator({
    db: database.kysely,
    provider: {
      async getMigrations() {
        return {
          '0001-first-cargo': firstCargo(database.engine),
          '0002-tenancies-and-sharing': tenanciesAndSharing(database.engine),
          '0003-running-instances': runningInstances(database.engine),
        };
      },
    },
  });
  const { error } = await migrator.migrateToLatest();
  if (error !== undefined) throw error;
}
