import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { SqlEngine } from '../database.ts';

/** Tenancies, buckets and objects, images, the vault's index, jobs. */
export function firstCargo(engine: SqlEngine): Migration {
  const bytes = engine === 'sqlite' ? 'BLOB' : 'BYTEA';
  const serial = engine === 'sqlite' ? 'INTEGER PRIMARY KEY AUTOINCREMENT' : 'BIGSERIAL PRIMARY KEY';
  // Names that are listed in order compare by bytes on both engines.
  const ordered = engine === 'sqlite' ? 'TEXT' : 'TEXT COLLATE "C"';
  const strict = engine === 'sqlite' ? ' STRICT' : '';
  const integer = engine === 'sqlite' ? 'INTEGER' : 'BIGINT';

  const tables = [
    `CREATE TABLE tenancies (
      id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE users (
      id TEXT PRIMARY KEY, tenancy_id TEXT NOT NULL REFERENCES tenancies (id), name TEXT NOT NULL,
      role TEXT NOT NULL, created_at_ms ${integer} NOT NULL, UNIQUE (tenancy_id, name))`,
    `CREATE TABLE tokens (
      id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users (id), token_sha256 TEXT NOT NULL UNIQUE,
      label TEXT NOT NULL, created_at_ms ${integer} NOT NULL, revoked_at_ms ${integer})`,
    `CREATE TABLE buckets (
      id TEXT PRIMARY KEY, tenancy_id TEXT NOT NULL REFERENCES tenancies (id), name ${ordered} NOT NULL,
      created_at_ms ${integer} NOT NULL, UNIQUE (tenancy_id, name))`,
    `CREATE TABLE manifests (
      id TEXT PRIMARY KEY, state TEXT NOT NULL, virtual_size_bytes ${integer} NOT NULL, disk_digest TEXT,
      data_bytes ${integer} NOT NULL, created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE manifest_chunks (
      manifest_id TEXT NOT NULL REFERENCES manifests (id) ON DELETE CASCADE, chunk_index ${integer} NOT NULL,
      entries ${bytes} NOT NULL, PRIMARY KEY (manifest_id, chunk_index))`,
    `CREATE TABLE objects (
      bucket_id TEXT NOT NULL REFERENCES buckets (id), object_key ${ordered} NOT NULL,
      length_bytes ${integer} NOT NULL, etag TEXT NOT NULL, content_type TEXT NOT NULL, stored_name TEXT UNIQUE,
      manifest_id TEXT REFERENCES manifests (id), view_json TEXT, created_at_ms ${integer} NOT NULL,
      PRIMARY KEY (bucket_id, object_key))`,
    `CREATE TABLE uploads (
      id TEXT PRIMARY KEY, bucket_id TEXT NOT NULL REFERENCES buckets (id), object_key ${ordered} NOT NULL,
      content_type TEXT NOT NULL, created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE upload_parts (
      upload_id TEXT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE, part_number ${integer} NOT NULL,
      length_bytes ${integer} NOT NULL, md5 TEXT NOT NULL, stored_name TEXT NOT NULL UNIQUE,
      PRIMARY KEY (upload_id, part_number))`,
    `CREATE TABLE images (
      id TEXT PRIMARY KEY, tenancy_id TEXT NOT NULL REFERENCES tenancies (id), name ${ordered} NOT NULL,
      source_format TEXT NOT NULL, virtual_size_bytes ${integer} NOT NULL, disk_digest TEXT NOT NULL,
      manifest_id TEXT NOT NULL REFERENCES manifests (id), details_json TEXT NOT NULL,
      created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE vault_segments (
      id TEXT PRIMARY KEY, committed_bytes ${integer} NOT NULL, created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE vault_blocks (
      block_hash ${bytes} PRIMARY KEY, segment_id TEXT NOT NULL REFERENCES vault_segments (id),
      offset_bytes ${integer} NOT NULL, length_bytes ${integer} NOT NULL, pieces ${bytes} NOT NULL)`,
    `CREATE TABLE jobs (
      id TEXT PRIMARY KEY, tenancy_id TEXT NOT NULL REFERENCES tenancies (id), user_id TEXT, kind TEXT NOT NULL,
      state TEXT NOT NULL, phase TEXT NOT NULL, input_json TEXT NOT NULL, checkpoint_json TEXT,
      result_json TEXT, error_json TEXT, done_bytes ${integer} NOT NULL, total_bytes ${integer},
      bytes_per_second ${integer}, attempt ${integer} NOT NULL, fence ${integer} NOT NULL, lease_owner TEXT,
      lease_until_ms ${integer}, cancel_requested ${integer} NOT NULL, created_at_ms ${integer} NOT NULL,
      started_at_ms ${integer}, updated_at_ms ${integer} NOT NULL, finished_at_ms ${integer})`,
    `CREATE TABLE job_log (
      id ${serial}, job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, at_ms ${integer} NOT NULL,
      level TEXT NOT NULL, message TEXT NOT NULL)`,
    `CREATE TABLE idempotency_keys (
      tenancy_id TEXT NOT NULL REFERENCES tenancies (id), idempotency_key TEXT NOT NULL,
      request_sha256 TEXT NOT NULL, status_code ${integer}, response_json TEXT,
      created_at_ms ${integer} NOT NULL, PRIMARY KEY (tenancy_id, idempotency_key))`,
  ];
  const indexes = [
    'CREATE INDEX images_by_tenancy ON images (tenancy_id, id)',
    'CREATE INDEX images_by_manifest ON images (manifest_id)',
    'CREATE INDEX objects_by_manifest ON objects (manifest_id)',
    'CREATE INDEX vault_blocks_by_segment ON vault_blocks (segment_id, offset_bytes)',
    'CREATE INDEX jobs_by_state ON jobs (state, lease_until_ms)',
    'CREATE INDEX jobs_by_tenancy ON jobs (tenancy_id, id)',
    'CREATE INDEX job_log_by_job ON job_log (job_id, id)',
  ];
  return {
    async up(db: Kysely<unknown>) {
      for (const table of tables) await sql.raw(table + strict).execute(db);
      for (const index of indexes) await sql.raw(index).execute(db);
    },
  };
}
