import type { Generated } from 'kysely';

/**
 * The tables, in the subset of SQL that SQLite and PostgreSQL share: text ids that sort by time, whole
 * milliseconds since 1970, JSON as text, booleans as 0 or 1, bytes as BLOB or BYTEA.
 */
export interface Schema {
  tenancies: TenancyRow;
  users: UserRow;
  tokens: TokenRow;
  buckets: BucketRow;
  objects: ObjectRow;
  object_parts: ObjectPartRow;
  uploads: UploadRow;
  upload_parts: UploadPartRow;
  images: ImageRow;
  manifests: ManifestRow;
  manifest_chunks: ManifestChunkRow;
  vault_identity: VaultIdentityRow;
  vault_segments: VaultSegmentRow;
  vault_blocks: VaultBlockRow;
  jobs: JobRow;
  job_log: JobLogRow;
  job_secrets: JobSecretRow;
  idempotency_keys: IdempotencyKeyRow;
}

export type UserRole = 'administrator' | 'member';
export type JobState = 'queued' | 'running' | 'succeeded' | 'failed' | 'canceled';
export type JobLogLevel = 'info' | 'warning' | 'error';

export interface TenancyRow {
  id: string;
  name: string;
  created_at_ms: number;
}

export interface UserRow {
  id: string;
  tenancy_id: string;
  name: string;
  role: UserRole;
  created_at_ms: number;
}

export interface TokenRow {
  id: string;
  user_id: string;
  /** SHA-256 of the token, hex; the token itself is never stored. */
  token_sha256: string;
  label: string;
  created_at_ms: number;
  revoked_at_ms: number | null;
}

export interface BucketRow {
  id: string;
  tenancy_id: string;
  name: string;
  created_at_ms: number;
}

export interface ObjectRow {
  bucket_id: string;
  object_key: string;
  length_bytes: number;
  /** Without quotes. Changes whenever the bytes change. */
  etag: string;
  content_type: string;
  /** Name in the object store, or the object's name in object_parts when it has parts; null for a view. */
  stored_name: string | null;
  /** Stored parts that are its bytes in order; 0 when they are one piece, and for a view. */
  part_count: number;
  /** For a view: the manifest that it shows, which it keeps alive, and how (JSON of ViewSpec). */
  manifest_id: string | null;
  view_json: string | null;
  created_at_ms: number;
}

/** A piece of an object that was uploaded in parts: completing an upload moves rows, never bytes. */
export interface ObjectPartRow {
  /** The object's stored_name. */
  object_name: string;
  /** From 1, without gaps. */
  part_number: number;
  length_bytes: number;
  /** Name in the object store. */
  stored_name: string;
}

export interface UploadRow {
  id: string;
  bucket_id: string;
  object_key: string;
  content_type: string;
  created_at_ms: number;
}

export interface UploadPartRow {
  upload_id: string;
  part_number: number;
  length_bytes: number;
  /** Without quotes. Another one each time that the part is sent. */
  etag: string;
  stored_name: string;
}

export interface ImageRow {
  id: string;
  tenancy_id: string;
  name: string;
  /** Format that it was imported from. */
  source_format: string;
  virtual_size_bytes: number;
  disk_digest: string;
  manifest_id: string;
  /** JSON: what the source's headers said. */
  details_json: string;
  created_at_ms: number;
}

export interface ManifestRow {
  id: string;
  /** `building` while an import fills it, then `sealed`. */
  state: string;
  virtual_size_bytes: number;
  /** Null while building. */
  disk_digest: string | null;
  /** Guest bytes in blocks that are not all zero. */
  data_bytes: number;
  created_at_ms: number;
}

export interface ManifestChunkRow {
  manifest_id: string;
  /** Covers the blocks [chunk_index * 1024, ...); a chunk without data has no row. */
  chunk_index: number;
  /** Which blocks hold data, then the hash and the piece lengths of each: vault/manifest-chunk.ts. */
  entries: Uint8Array;
}

/** One row: the same id stands in the vault's folder, so that a folder never meets a foreign database. */
export interface VaultIdentityRow {
  id: string;
}

export interface VaultSegmentRow {
  /** Given by the database, never given twice. */
  number: Generated<number>;
  /** Name of the file. */
  id: string;
  /** Bytes that are durable and indexed; the file may be longer after a crash. */
  committed_bytes: number;
  /** Of these, the bytes of records that vault_blocks lists. */
  live_bytes: number;
  created_at_ms: number;
}

export interface VaultBlockRow {
  /** SHA-256 of the block's guest bytes: 32 bytes. */
  block_hash: Uint8Array;
  segment_number: number;
  /** Where the block's record starts in its segment, and how long it is: vault/block-record.ts. */
  offset_bytes: number;
  length_bytes: number;
  /** The record's piece table: stored length and CRC-32 of each piece. */
  pieces: Uint8Array;
}

export interface JobRow {
  id: string;
  tenancy_id: string;
  user_id: string | null;
  kind: string;
  state: JobState;
  /** Empty until the first phase begins. */
  phase: string;
  input_json: string;
  checkpoint_json: string | null;
  result_json: string | null;
  /** JSON of { code, message, hint } for a failed job. */
  error_json: string | null;
  done_bytes: number;
  /** Null while unknown. */
  total_bytes: number | null;
  bytes_per_second: number | null;
  /** How often it was claimed. */
  attempt: number;
  /** Transient failures since the last new checkpoint. */
  failure_count: number;
  /** Workers that died with it since the last new checkpoint. */
  lost_count: number;
  /** Raised by every claim; every write of a worker must match it. */
  fence: number;
  /** A queued job is not claimed before. */
  not_before_ms: number;
  lease_owner: string | null;
  lease_until_ms: number | null;
  /** 1 while a running job's worker has yet to end it. */
  cancel_requested: number;
  created_at_ms: number;
  started_at_ms: number | null;
  updated_at_ms: number;
  finished_at_ms: number | null;
}

export interface JobLogRow {
  id: Generated<number>;
  job_id: string;
  at_ms: number;
  level: JobLogLevel;
  message: string;
}

/** Addresses that carry their own permission; apart from the jobs, whose rows many read. */
export interface JobSecretRow {
  job_id: string;
  secret: string;
}

export interface IdempotencyKeyRow {
  tenancy_id: string;
  idempotency_key: string;
  /** SHA-256 of method, path and body, hex: the same key with another request is a conflict. */
  request_sha256: string;
  /** The first answer: status and JSON body. Null while the first request still runs. */
  status_code: number | null;
  response_json: string | null;
  created_at_ms: number;
}
