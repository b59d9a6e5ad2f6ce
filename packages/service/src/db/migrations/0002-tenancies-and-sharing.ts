import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { SqlEngine } from '../database.ts';

/**
 * Compartments, keys and grants; tags; what clouds say of images, buckets and objects; instances and volumes;
 * pre-authenticated requests; what a job works on.
 */
export function tenanciesAndSharing(engine: SqlEngine): Migration {
  const text = engine === 'sqlite' ? 'TEXT' : 'TEXT COLLATE "C"';
  const strict = engine === 'sqlite' ? ' STRICT' : '';
  const integer = engine === 'sqlite' ? 'INTEGER' : 'BIGINT';
  const tags = `freeform_tags_json ${text} NOT NULL, defined_tags_json ${text} NOT NULL`;
  const tagsAdded = [
    `freeform_tags_json ${text} NOT NULL DEFAULT '{}'`,
    `defined_tags_json ${text} NOT NULL DEFAULT '{}'`,
  ];
  const home = `tenancy_id ${text} NOT NULL REFERENCES tenancies (id), compartment_id ${text} NOT NULL REFERENCES compartments (id)`;

  const tables = [
    `CREATE TABLE compartments (
      id ${text} PRIMARY KEY, tenancy_id ${text} NOT NULL REFERENCES tenancies (id),
      parent_id ${text} REFERENCES compartments (id), name ${text} NOT NULL, description ${text} NOT NULL,
      ${tags}, version ${integer} NOT NULL, created_at_ms ${integer} NOT NULL, deleted_at_ms ${integer})`,
    `CREATE TABLE api_keys (
      fingerprint ${text} NOT NULL, user_id ${text} NOT NULL REFERENCES users (id), public_key_pem ${text} NOT NULL,
      created_at_ms ${integer} NOT NULL, PRIMARY KEY (user_id, fingerprint))`,
    `CREATE TABLE grants (
      id ${text} PRIMARY KEY, tenancy_id ${text} NOT NULL REFERENCES tenancies (id),
      user_id ${text} NOT NULL REFERENCES users (id), verb ${text} NOT NULL, resource ${text} NOT NULL,
      compartment_id ${text} NOT NULL REFERENCES compartments (id), created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE tag_namespaces (
      id ${text} PRIMARY KEY, ${home}, name ${text} NOT NULL, description ${text} NOT NULL,
      is_retired ${integer} NOT NULL, ${tags}, created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE tags (
      id ${text} PRIMARY KEY, tag_namespace_id ${text} NOT NULL REFERENCES tag_namespaces (id), name ${text} NOT NULL,
      description ${text} NOT NULL, is_retired ${integer} NOT NULL, validator_json ${text}, ${tags},
      version ${integer} NOT NULL, created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE images_as_of_0002 (
      id ${text} PRIMARY KEY, ${home}, name ${text} NOT NULL, kind ${text} NOT NULL, base_image_id ${text},
      manifest_id ${text} REFERENCES manifests (id), source_format ${text}, virtual_size_bytes ${integer},
      disk_digest ${text}, details_json ${text} NOT NULL, job_id ${text}, source_json ${text},
      operating_system ${text} NOT NULL, operating_system_version ${text} NOT NULL, launch_mode ${text},
      launch_options_json ${text}, capabilities_json ${text}, ${tags}, version ${integer} NOT NULL,
      created_at_ms ${integer} NOT NULL, deleted_at_ms ${integer})`,
    `CREATE TABLE image_shapes (
      image_id ${text} NOT NULL REFERENCES images_as_of_0002 (id) ON DELETE CASCADE, shape ${text} NOT NULL,
      ocpu_json ${text}, memory_json ${text}, PRIMARY KEY (image_id, shape))`,
    `CREATE TABLE image_capability_schemas (
      id ${text} PRIMARY KEY, ${home}, image_id ${text} NOT NULL UNIQUE REFERENCES images_as_of_0002 (id) ON DELETE CASCADE,
      name ${text} NOT NULL, global_version_name ${text} NOT NULL, schema_json ${text} NOT NULL, ${tags},
      version ${integer} NOT NULL, created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE volumes (
      id ${text} PRIMARY KEY, ${home}, kind ${text} NOT NULL, name ${text} NOT NULL, size_bytes ${integer} NOT NULL,
      manifest_id ${text} REFERENCES manifests (id), image_id ${text}, availability_domain ${text} NOT NULL, ${tags},
      version ${integer} NOT NULL, created_at_ms ${integer} NOT NULL, deleted_at_ms ${integer})`,
    `CREATE TABLE instances (
      id ${text} PRIMARY KEY, ${home}, name ${text} NOT NULL, availability_domain ${text} NOT NULL,
      shape ${text} NOT NULL, shape_config_json ${text}, image_id ${text}, state ${text} NOT NULL,
      metadata_json ${text} NOT NULL, launch_mode ${text}, launch_options_json ${text}, ${tags}, version ${integer} NOT NULL,
      created_at_ms ${integer} NOT NULL, deleted_at_ms ${integer})`,
    `CREATE TABLE volume_attachments (
      id ${text} PRIMARY KEY, ${home}, kind ${text} NOT NULL, instance_id ${text} NOT NULL REFERENCES instances (id),
      volume_id ${text} NOT NULL REFERENCES volumes (id), created_at_ms ${integer} NOT NULL, detached_at_ms ${integer})`,
    `CREATE TABLE pre_authenticated_requests (
      id ${text} PRIMARY KEY, tenancy_id ${text} NOT NULL REFERENCES tenancies (id),
      bucket_id ${text} NOT NULL REFERENCES buckets (id) ON DELETE CASCADE,
      user_id ${text} NOT NULL REFERENCES users (id) ON DELETE CASCADE, name ${text} NOT NULL, access_type ${text} NOT NULL,
      object_key ${text}, allows_listing ${integer} NOT NULL, token_sha256 ${text} NOT NULL UNIQUE,
      expires_at_ms ${integer} NOT NULL, created_at_ms ${integer} NOT NULL)`,
    `CREATE TABLE job_resources (
      job_id ${text} NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, resource_id ${text} NOT NULL,
      entity_type ${text} NOT NULL, action ${text} NOT NULL, PRIMARY KEY (job_id, resource_id))`,
  ];

  /** Columns that tables of before gain. */
  const added: Record<string, readonly string[]> = {
    tenancies: [`namespace ${text} NOT NULL DEFAULT ''`],
    users: [`description ${text} NOT NULL DEFAULT ''`, `email ${text}`],
    buckets: [
      `compartment_id ${text} NOT NULL DEFAULT ''`,
      `attributes_json ${text} NOT NULL DEFAULT '{}'`,
      ...tagsAdded,
      `created_by ${text}`,
      `version ${integer} NOT NULL DEFAULT 1`,
    ],
    objects: [`attributes_json ${text} NOT NULL DEFAULT '{}'`],
    uploads: [`attributes_json ${text} NOT NULL DEFAULT '{}'`],
    upload_parts: [`checksums_json ${text} NOT NULL DEFAULT '{}'`],
    jobs: [`compartment_id ${text}`, `operation ${text}`, `percent_done ${integer} NOT NULL DEFAULT 0`],
  };

  const moved = `INSERT INTO images_as_of_0002 (id, tenancy_id, compartment_id, name, kind, manifest_id, source_format,
      virtual_size_bytes, disk_digest, details_json, operating_system, operating_system_version,
      freeform_tags_json, defined_tags_json, version, created_at_ms)
    SELECT id, tenancy_id, tenancy_id, name, 'custom', manifest_id, source_format, virtual_size_bytes, disk_digest,
      details_json, '', '', '{}', '{}', 1, created_at_ms FROM images`;

  const indexes = [
    'CREATE INDEX compartments_by_parent ON compartments (parent_id)',
    'CREATE UNIQUE INDEX compartments_by_name ON compartments (parent_id, name) WHERE deleted_at_ms IS NULL',
    'CREATE INDEX grants_by_user ON grants (user_id)',
    // Names of tags are the same in any case.
    'CREATE UNIQUE INDEX tag_namespaces_by_name ON tag_namespaces (tenancy_id, lower(name))',
    'CREATE UNIQUE INDEX tags_by_name ON tags (tag_namespace_id, lower(name))',
    'CREATE INDEX tag_namespaces_by_compartment ON tag_namespaces (compartment_id)',
    'CREATE INDEX images_by_tenancy ON images (tenancy_id, id)',
    'CREATE INDEX images_by_compartment ON images (compartment_id, id)',
    'CREATE INDEX images_by_manifest ON images (manifest_id)',
    'CREATE INDEX volumes_by_compartment ON volumes (compartment_id, id)',
    'CREATE INDEX volumes_by_manifest ON volumes (manifest_id)',
    'CREATE INDEX instances_by_compartment ON instances (compartment_id, id)',
    'CREATE INDEX volume_attachments_by_instance ON volume_attachments (instance_id)',
    'CREATE INDEX volume_attachments_by_volume ON volume_attachments (volume_id)',
    'CREATE INDEX pre_authenticated_requests_by_bucket ON pre_authenticated_requests (bucket_id, id)',
    'CREATE INDEX job_resources_by_resource ON job_resources (resource_id, job_id)',
    'CREATE INDEX jobs_by_compartment ON jobs (compartment_id, id)',
    'CREATE INDEX buckets_by_compartment ON buckets (compartment_id, name)',
    'CREATE UNIQUE INDEX tenancies_by_namespace ON tenancies (namespace)',
  ];

  const statements = [
    ...tables.map((table) => table + strict),
    ...Object.entries(added).flatMap(([table, columns]) =>
      columns.map((column) => `ALTER TABLE ${table} ADD COLUMN ${column}`),
    ),
    // What belonged to a tenancy belongs to its root compartment, whose id is the tenancy's own.
    `INSERT INTO compartments SELECT id, id, NULL, name, '', '{}', '{}', 1, created_at_ms, NULL FROM tenancies`,
    'UPDATE buckets SET compartment_id = tenancy_id',
    'UPDATE tenancies SET namespace = name',
    moved,
    'DROP TABLE images',
    'ALTER TABLE images_as_of_0002 RENAME TO images',
    ...indexes,
  ];
  return {
    async up(db: Kysely<unknown>) {
      for (const statement of statements) await sql.raw(statement).execute(db);
    },
  };
}
