import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { SqlEngine } from '../database.ts';

/** Tenancies, buckets and objects, images, the vault's index, jobs. */
export function firstCargo(engine: SqlEngine): Migration {
  const bytes = engine === 'sqlite' ? 'BLOB' : 'BYTEA';
  const serial = engine === 'sqlite' ? 'INTEGER PRIMARY KEY AUTOINCREMENT' : 'BIGSERIAL PRIMARY KEY';
  // Text compares by its UTF-8 bytes on both engines, whatever the server's language is.
  const text = engine === 'sqlite' ? 'TEXT' : 'TEXT COLLATE "C"';
  const strict = engine === 'sqlite' ? ' STRICT' : '';
  const integer = engine === 'sqlite' ? 'INTEGER' : 'BIGINT';

  const tables = [
    `CREATE TABLE tenancies (
      id ${text} PRIMARY KEY, name ${text} NOT NULL UNIQUE, created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE users (
      id ${text} PRIMARY KEY, tenancy_id ${text} NOT NULL REFERENCES tenancies (id), name ${text} NOT NULL,
      role ${text} NOT NULL, created_at_ms ${integer} NOT NULL, UNIQUE (tenancy_id, name))`,
    `CREATE TABLE tokens (
      id ${text} PRIMARY KEY, user_id ${text} NOT NULL REFERENCES users (id), token_sha256 ${text} NOT NULL UNIQUE,
      label ${text} NOT NULL, created_at_ms ${integer} NOT NULL, revoked_at_ms ${integer})`,
    `CREATE TABLE buckets (
      id ${text} PRIMARY KEY, tenancy_id ${text} NOT NULL REFERENCES tenancies (id), name ${text} NOT NULL,
      created_at_ms ${integer} NOT NULL, UNIQUE (tenancy_id, name))`,
    `CREATE TABLE manifests (
      id ${text} PRIMARY KEY, state ${text} NOT NULL, virtual_size_bytes ${integer} NOT NULL, disk_digest ${text},
      data_bytes ${integer} NOT NULL, created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE manifest_chunks (
      manifest_id ${text} NOT NULL REFERENCES manifests (id) ON DELETE CASCADE, chunk_index ${integer} NOT NULL,
      entries ${bytes} NOT NULL, PRIMARY KEY (manifest_id, chunk_index))`,
    `CREATE TABLE objects (
      bucket_id ${text} NOT NULL REFERENCES buckets (id), object_key ${text} NOT NULL,
      length_bytes ${integer} NOT NULL, etag ${text} NOT NULL, content_type ${text} NOT NULL, stored_name ${text} UNIQUE,
      part_count ${integer} NOT NULL, manifest_id ${text} REFERENCES manifests (id), view_json ${text}, created_at_ms ${integer} NOT NULL,
      PRIMARY KEY (bucket_id, object_key))`,
    `CREATE TABLE object_parts (
      object_name ${text} NOT NULL, part_number ${integer} NOT NULL, length_bytes ${integer} NOT NULL,
      stored_name ${text} NOT NULL UNIQUE, PRIMARY KEY (object_name, part_number))`,
    `CREATE TABLE uploads (
      id ${text} PRIMARY KEY, bucket_id ${text} NOT NULL REFERENCES buckets (id), object_key ${text} NOT NULL,
      content_type ${text} NOT NULL, created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE upload_parts (
      upload_id ${text} NOT NULL REFERENCES uploads (id) ON DELETE CASCADE, part_number ${integer} NOT NULL,
      length_bytes ${integer} NOT NULL, etag ${text} NOT NULL, stored_name ${text} NOT NULL UNIQUE,
      PRIMARY KEY (upload_id, part_number))`,
    `CREATE TABLE images (
      id ${text} PRIMARY KEY, tenancy_id ${text} NOT NULL REFERENCES tenancies (id), name ${text} NOT NULL,
      source_format ${text} NOT NULL, virtual_size_bytes ${integer} NOT NULL, disk_digest ${text} NOT NULL,
      manifest_id ${text} NOT NULL REFERENCES manifests (id), details_json ${text} NOT NULL,
      created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE vault_identity (id ${text} PRIMARY KEY)`,
    `CREATE TABLE vault_segments (
      number ${serial}, id ${text} NOT NULL UNIQUE, committed_bytes ${integer} NOT NULL,
      live_bytes ${integer} NOT NULL, created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE vault_blocks (
      block_hash ${bytes} PRIMARY KEY, segment_number ${integer} NOT NULL REFERENCES vault_segments (number),
      offset_bytes ${integer} NOT NULL, length_bytes ${integer} NOT NULL, pieces ${bytes} NOT NULL)`,
    `CREATE TABLE jobs (
      id ${text} PRIMARY KEY, tenancy_id ${text} NOT NULL REFERENCES tenancies (id), user_id ${text}, kind ${text} NOT NULL,
      state ${text} NOT NULL, phase ${text} NOT NULL, input_json ${text} NOT NULL, checkpoint_json ${text},
      result_json ${text}, error_json ${text}, done_bytes ${integer} NOT NULL, total_bytes ${integer},
      bytes_per_second ${integer}, attempt ${integer} NOT NULL, failure_count ${integer} NOT NULL,
      lost_count ${integer} NOT NULL, fence ${integer} NOT NULL, not_before_ms ${integer} NOT NULL,
      lease_owner ${text}, lease_until_ms ${integer}, cancel_requested ${integer} NOT NULL, created_at_ms ${integer} NOT NULL,
      started_at_ms ${integer}, updated_at_ms ${integer} NOT NULL, finished_at_ms ${integer})`,
    `CREATE TABLE job_log (
      id ${serial}, job_id ${text} NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, at_ms ${integer} NOT NULL,
      level ${text} NOT NULL, message ${text} NOT NULL)`,
    `CREATE TABLE job_secrets (
      job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE, secret TEXT NOT NULL)`,
    `CREATE TABLE idempotency_keys (
      tenancy_id ${text} NOT NULL REFERENCES tenancies (id), idempotency_key ${text} NOT NULL,
      request_sha256 ${text} NOT NULL, status_code ${integer}, response_json ${text},
      created_at_ms ${integer} NOT NULL, PRIMARY KEY (tenancy_id, idempotency_key))`,
  ];
  const indexes = [
    'CREATE INDEX tokens_by_user ON tokens (user_id)',
    'CREATE INDEX uploads_by_bucket ON uploads (bucket_id, object_key, id)',
    'CREATE INDEX images_by_tenancy ON images (tenancy_id, id)',
    'CREATE INDEX images_by_manifest ON images (manifest_id)',
    'CREATE INDEX objects_by_manifest ON objects (manifest_id)',
    'CREATE INDEX vault_blocks_by_segment ON vault_blocks (segment_number, offset_bytes)',
    // The few that are not over, oldest first: what a claim looks through.
    "CREATE INDEX jobs_not_over ON jobs (id) WHERE state IN ('queued', 'running')",
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
