import type { Generated } from 'kysely';

/**
 * The tables, in the subset of SQL that SQLite and PostgreSQL share: text ids that sort by time, whole
 * milliseconds since 1970, JSON as text, booleans as 0 or 1, bytes as BLOB or BYTEA.
 */
export interface Schema {
  tenancies: TenancyRow;
  compartments: CompartmentRow;
  users: UserRow;
  api_keys: ApiKeyRow;
  grants: GrantRow;
  tag_namespaces: TagNamespaceRow;
  tags: TagRow;
  tokens: TokenRow;
  buckets: BucketRow;
  objects: ObjectRow;
  object_parts: ObjectPartRow;
  uploads: UploadRow;
  upload_parts: UploadPartRow;
  pre_authenticated_requests: PreAuthenticatedRequestRow;
  images: ImageRow;
  image_shapes: ImageShapeRow;
  image_capability_schemas: ImageCapabilitySchemaRow;
  volumes: VolumeRow;
  instances: InstanceRow;
  volume_attachments: VolumeAttachmentRow;
  console_histories: ConsoleHistoryRow;
  screen_tickets: ScreenTicketRow;
  manifests: ManifestRow;
  manifest_chunks: ManifestChunkRow;
  vault_identity: VaultIdentityRow;
  vault_segments: VaultSegmentRow;
  vault_blocks: VaultBlockRow;
  jobs: JobRow;
  job_log: JobLogRow;
  job_secrets: JobSecretRow;
  job_resources: JobResourceRow;
  idempotency_keys: IdempotencyKeyRow;
}

/** What a grant allows, each more than the one before (as OCI's policies have it). */
export type GrantVerb = 'inspect' | 'read' | 'use' | 'manage';
/** What a grant is about; `all` is all of these. */
export type GrantResource =
  | 'all'
  | 'compartments'
  | 'users'
  | 'tag-namespaces'
  | 'buckets'
  | 'objects'
  | 'images'
  | 'instances'
  | 'volumes';

export type UserRole = 'administrator' | 'member';
export type JobState = 'queued' | 'running' | 'succeeded' | 'failed' | 'canceled';
export type JobLogLevel = 'info' | 'warning' | 'error';

export interface TenancyRow {
  id: string;
  name: string;
  created_at_ms: number;
  /** Object storage's name for the tenancy, in paths. */
  namespace: string;
}

/** Free-form tags: JSON of a map of text. Defined tags: JSON of namespace -> key -> value. */
export interface TagColumns {
  freeform_tags_json: string;
  defined_tags_json: string;
}

/** A node of a tenancy's tree. The root's id is that of its tenancy. */
export interface CompartmentRow extends TagColumns {
  id: string;
  tenancy_id: string;
  /** Null for the root. */
  parent_id: string | null;
  name: string;
  description: string;
  /** Raised by every change: an ETag. */
  version: number;
  created_at_ms: number;
  deleted_at_ms: number | null;
}

/** The public half of a key pair with which a user signs requests (OCI). */
export interface ApiKeyRow {
  /** MD5 of the key's DER SubjectPublicKeyInfo, hex in pairs with colons. */
  fingerprint: string;
  user_id: string;
  public_key_pem: string;
  created_at_ms: number;
}

/** What a member may do with a kind of resource in a compartment and all below it. */
export interface GrantRow {
  id: string;
  tenancy_id: string;
  user_id: string;
  verb: GrantVerb;
  resource: GrantResource;
  compartment_id: string;
  created_at_ms: number;
}

export interface TagNamespaceRow extends TagColumns {
  id: string;
  tenancy_id: string;
  compartment_id: string;
  name: string;
  description: string;
  is_retired: number;
  created_at_ms: number;
}

export interface TagRow extends TagColumns {
  id: string;
  tag_namespace_id: string;
  name: string;
  description: string;
  is_retired: number;
  /** JSON of the values that it may have; null for any. */
  validator_json: string | null;
  version: number;
  created_at_ms: number;
}

export interface UserRow {
  id: string;
  tenancy_id: string;
  name: string;
  role: UserRole;
  created_at_ms: number;
  description: string;
  email: string | null;
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

export interface BucketRow extends TagColumns {
  id: string;
  tenancy_id: string;
  name: string;
  created_at_ms: number;
  compartment_id: string;
  /** JSON of BucketAttributes: metadata, storage tier, public access. */
  attributes_json: string;
  /** The user who made it; null for one of before users were noted. */
  created_by: string | null;
  version: number;
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
  /** JSON of ObjectAttributes: metadata, headers, storage tier, checksums. */
  attributes_json: string;
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
  /** JSON of UploadAttributes: what the object that comes of it has. */
  attributes_json: string;
}

export interface UploadPartRow {
  upload_id: string;
  part_number: number;
  length_bytes: number;
  /** Without quotes. Another one each time that the part is sent. */
  etag: string;
  stored_name: string;
  /** JSON of Checksums. */
  checksums_json: string;
}

/** A URL that carries its own permission to a bucket or an object, until it expires or is deleted. */
export interface PreAuthenticatedRequestRow {
  id: string;
  tenancy_id: string;
  bucket_id: string;
  /** Who made it: what that user may no longer do, it does not allow either. */
  user_id: string;
  name: string;
  access_type: string;
  /** The object, or a prefix of keys, or null for the whole bucket. */
  object_key: string | null;
  allows_listing: number;
  /** SHA-256 of the token in the URL, hex; the token itself is never stored. */
  token_sha256: string;
  expires_at_ms: number;
  created_at_ms: number;
}

/**
 * An image. Its state is not written down but follows from its job and its manifest: without a manifest it is
 * being made while its job runs, and gone when that failed; with one it is there, until `deleted_at_ms`.
 */
export interface ImageRow extends TagColumns {
  id: string;
  tenancy_id: string;
  compartment_id: string;
  name: string;
  kind: 'custom' | 'platform' | 'marketplace';
  /** The image that the instance it was made from was launched from. */
  base_image_id: string | null;
  /** Null until its content is in the vault, and again when it was deleted. */
  manifest_id: string | null;
  /** Format that it was imported from. */
  source_format: string | null;
  virtual_size_bytes: number | null;
  disk_digest: string | null;
  /** JSON: what the source's headers said. */
  details_json: string;
  /** The job that makes it; null for images of before. */
  job_id: string | null;
  /** JSON: what a dialect's client sent as its source, given back unchanged. */
  source_json: string | null;
  /** Empty while nobody has said it. */
  operating_system: string;
  operating_system_version: string;
  launch_mode: string | null;
  /** JSON of LaunchOptions. */
  launch_options_json: string | null;
  /** JSON of an archive's capability data, kept as it came. */
  capabilities_json: string | null;
  /** The same for all images of one point in time of an instance. */
  capture_id: string | null;
  /** That point in time, and how the disk was then. Null for an image that no instance was made into. */
  captured_at_ms: number | null;
  consistency: 'shutdown' | 'agent' | 'crash' | null;
  /** JSON of { boots, architecture, launchMode, warnings }: what was seen on the disk. */
  proposal_json: string | null;
  version: number;
  created_at_ms: number;
  /** Deleted images stay readable for a while. */
  deleted_at_ms: number | null;
}

/** A shape that an image may be launched with. */
export interface ImageShapeRow {
  image_id: string;
  shape: string;
  /** JSON of { min, max }. */
  ocpu_json: string | null;
  /** JSON of { minInGBs, maxInGBs }. */
  memory_json: string | null;
}

export interface ImageCapabilitySchemaRow extends TagColumns {
  id: string;
  tenancy_id: string;
  compartment_id: string;
  image_id: string;
  name: string;
  global_version_name: string;
  schema_json: string;
  version: number;
  created_at_ms: number;
}

export interface VolumeRow extends TagColumns {
  id: string;
  tenancy_id: string;
  compartment_id: string;
  kind: 'boot' | 'block';
  name: string;
  size_bytes: number;
  /** Its content, or what shows through where its file holds nothing; null when that is zeros. */
  manifest_id: string | null;
  /**
   * Null: it has no file and is its manifest. `overlay`: a file holds what differs from the manifest. `whole`: the
   * file holds all of it.
   */
  file_state: 'overlay' | 'whole' | null;
  /** The image that it was made from. */
  image_id: string | null;
  availability_domain: string;
  version: number;
  created_at_ms: number;
  deleted_at_ms: number | null;
}

export interface InstanceRow extends TagColumns {
  id: string;
  tenancy_id: string;
  compartment_id: string;
  name: string;
  availability_domain: string;
  shape: string;
  /** JSON of { ocpus, memoryInGBs, … }. */
  shape_config_json: string | null;
  image_id: string | null;
  /** As it was seen last; while a job works on the instance, the instance's state follows from that. */
  power_state: 'RUNNING' | 'STOPPED';
  /** Why it has that power, where somebody said so. */
  power_reason: string | null;
  /** What it takes of the host while it runs. */
  cpu_count: number;
  memory_bytes: number;
  /** JSON of a map of text: SSH keys, user data. */
  metadata_json: string;
  launch_mode: string | null;
  launch_options_json: string | null;
  version: number;
  created_at_ms: number;
  deleted_at_ms: number | null;
}

export interface VolumeAttachmentRow {
  id: string;
  tenancy_id: string;
  compartment_id: string;
  kind: 'boot' | 'block';
  instance_id: string;
  volume_id: string;
  created_at_ms: number;
  detached_at_ms: number | null;
}

/** What a serial port had said when somebody asked for it to be kept. */
export interface ConsoleHistoryRow extends TagColumns {
  id: string;
  tenancy_id: string;
  compartment_id: string;
  instance_id: string;
  name: string;
  availability_domain: string;
  content: Uint8Array;
  version: number;
  created_at_ms: number;
}

/** Lets a browser, which sends no headers, open one screen or console once. */
export interface ScreenTicketRow {
  ticket_sha256: string;
  instance_id: string;
  user_id: string;
  kind: 'screen' | 'console';
  expires_at_ms: number;
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
  /** Where it belongs, for who asks by compartment. */
  compartment_id: string | null;
  /** What a dialect calls it: OCI's operationType. */
  operation: string | null;
  /** Of the whole job, over all of its phases; it never falls. */
  percent_done: number;
}

/** What a job makes or works on. */
export interface JobResourceRow {
  job_id: string;
  resource_id: string;
  /** `image`, `object`, `instance`, … */
  entity_type: string;
  action: 'created' | 'updated' | 'deleted' | 'related';
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
