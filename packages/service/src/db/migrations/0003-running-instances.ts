import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { SqlEngine } from '../database.ts';

/** Instances that a hypervisor runs: their power, files of volumes, images at a point in time, consoles, screens. */
export function runningInstances(engine: SqlEngine): Migration {
  const bytes = engine === 'sqlite' ? 'BLOB' : 'BYTEA';
  const text = engine === 'sqlite' ? 'TEXT' : 'TEXT COLLATE "C"';
  const strict = engine === 'sqlite' ? ' STRICT' : '';
  const integer = engine === 'sqlite' ? 'INTEGER' : 'BIGINT';

  const tables = [
    `CREATE TABLE console_histories (
      id ${text} PRIMARY KEY, tenancy_id ${text} NOT NULL REFERENCES tenancies (id),
      compartment_id ${text} NOT NULL REFERENCES compartments (id),
      instance_id ${text} NOT NULL REFERENCES instances (id) ON DELETE CASCADE, name ${text} NOT NULL,
      availability_domain ${text} NOT NULL, content ${bytes} NOT NULL, freeform_tags_json ${text} NOT NULL,
      defined_tags_json ${text} NOT NULL, version ${integer} NOT NULL, created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE screen_tickets (
      ticket_sha256 ${text} PRIMARY KEY, instance_id ${text} NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
      user_id ${text} NOT NULL REFERENCES users (id) ON DELETE CASCADE, kind ${text} NOT NULL,
      expires_at_ms ${integer} NOT NULL)`,
  ];

  /** Columns that tables of before gain. */
  const added: Record<string, readonly string[]> = {
    instances: [
      `power_state ${text} NOT NULL DEFAULT 'STOPPED'`,
      `power_reason ${text}`,
      `cpu_count ${integer} NOT NULL DEFAULT 0`,
      `memory_bytes ${integer} NOT NULL DEFAULT 0`,
    ],
    volumes: [`file_state ${text}`],
    images: [
      `capture_id ${text}`,
      `captured_at_ms ${integer}`,
      `consistency ${text}`,
      `proposal_json ${text}`,
    ],
  };

  const statements = [
    ...tables.map((table) => table + strict),
    // The state follows from the jobs that work on an instance, and from its power.
    'ALTER TABLE instances DROP COLUMN state',
    ...Object.entries(added).flatMap(([table, columns]) =>
      columns.map((column) => `ALTER TABLE ${table} ADD COLUMN ${column}`),
    ),
    'CREATE INDEX console_histories_by_compartment ON console_histories (compartment_id, id)',
    'CREATE INDEX console_histories_by_instance ON console_histories (instance_id)',
    'CREATE INDEX screen_tickets_by_time ON screen_tickets (expires_at_ms)',
  ];
  return {
    async up(db: Kysely<unknown>) {
      for (const statement of statements) await sql.raw(statement).execute(db);
    },
  };
}
