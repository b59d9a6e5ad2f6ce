import { newId } from '../ids.ts';
import type {
  BucketRow,
  CompartmentRow,
  ImageRow,
  InstanceRow,
  JobRow,
  ObjectRow,
  TenancyRow,
  UploadPartRow,
  UploadRow,
  UserRow,
  VolumeRow,
} from '../schema.ts';
import type { Queries } from '../transactions.ts';
import { insertBucket } from './buckets.ts';
import { insertCompartment } from './compartments.ts';
import { insertTenancy, insertUser } from './tenancies.ts';

export async function makeTenancy(queries: Queries, name = 'main'): Promise<TenancyRow> {
  const row: TenancyRow = { id: newId('ten'), name, namespace: name, created_at_ms: 1 };
  await insertTenancy(queries, row);
  await insertCompartment(queries, { ...compartmentRow(row.id, null, name), id: row.id });
  return row;
}

export async function makeUser(queries: Queries, tenancyId: string, name = 'admin'): Promise<UserRow> {
  const row: UserRow = {
    id: newId('usr'),
    tenancy_id: tenancyId,
    name,
    role: 'administrator',
    created_at_ms: 1,
    description: '',
    email: null,
  };
  await insertUser(queries, row);
  return row;
}

export async function makeBucket(queries: Queries, tenancyId: string, name = 'bucket'): Promise<BucketRow> {
  const row: BucketRow = {
    id: newId('bkt'),
    tenancy_id: tenancyId,
    compartment_id: tenancyId,
    name,
    attributes_json: '{}',
    freeform_tags_json: '{}',
    defined_tags_json: '{}',
    created_by: null,
    version: 1,
    created_at_ms: 1,
  };
  await insertBucket(queries, row);
  return row;
}

export function compartmentRow(tenancyId: string, parentId: string | null, name: string): CompartmentRow {
  return {
    id: newId('cmp'),
    tenancy_id: tenancyId,
    parent_id: parentId,
    name,
    description: '',
    freeform_tags_json: '{}',
    defined_tags_json: '{}',
    version: 1,
    created_at_ms: 1,
    deleted_at_ms: null,
  };
}

let stored = 0;

/** An object of stored bytes; every call names bytes of its own. */
export function objectRow(bucketId: string, objectKey: string, changes: Partial<ObjectRow> = {}): ObjectRow {
  stored += 1;
  return {
    bucket_id: bucketId,
    object_key: objectKey,
    length_bytes: 3,
    etag: `etag-${stored}`,
    content_type: 'application/octet-stream',
    stored_name: `stored-${stored}`,
    part_count: 0,
    manifest_id: null,
    view_json: null,
    created_at_ms: 1,
    attributes_json: '{}',
    ...changes,
  };
}

export function uploadRow(bucketId: string, objectKey: string): UploadRow {
  return {
    id: newId('upl'),
    bucket_id: bucketId,
    object_key: objectKey,
    content_type: 'text/plain',
    created_at_ms: 1,
    attributes_json: '{}',
  };
}

export function partRow(uploadId: string, partNumber: number): UploadPartRow {
  stored += 1;
  return {
    upload_id: uploadId,
    part_number: partNumber,
    length_bytes: 5,
    etag: `etag-${stored}`,
    stored_name: `part-${stored}`,
    checksums_json: '{}',
  };
}

/** An image whose content is in the vault. */
export function imageRow(
  tenancyId: string,
  manifestId: string | null,
  changes: Partial<ImageRow> = {},
): ImageRow {
  return {
    id: newId('img'),
    tenancy_id: tenancyId,
    compartment_id: tenancyId,
    name: 'image',
    kind: 'custom',
    base_image_id: null,
    manifest_id: manifestId,
    source_format: 'qcow2',
    virtual_size_bytes: 512,
    disk_digest: 'ab',
    details_json: '{}',
    job_id: null,
    source_json: null,
    operating_system: '',
    operating_system_version: '',
    launch_mode: null,
    launch_options_json: null,
    capabilities_json: null,
    capture_id: null,
    captured_at_ms: null,
    consistency: null,
    proposal_json: null,
    freeform_tags_json: '{}',
    defined_tags_json: '{}',
    version: 1,
    created_at_ms: 1,
    deleted_at_ms: null,
    ...changes,
  };
}

export function jobRow(tenancyId: string, changes: Partial<JobRow> = {}): JobRow {
  return {
    id: newId('job'),
    tenancy_id: tenancyId,
    user_id: null,
    kind: 'image-import',
    state: 'queued',
    phase: '',
    input_json: '{}',
    checkpoint_json: null,
    result_json: null,
    error_json: null,
    done_bytes: 0,
    total_bytes: null,
    bytes_per_second: null,
    attempt: 0,
    failure_count: 0,
    lost_count: 0,
    fence: 0,
    not_before_ms: 0,
    lease_owner: null,
    lease_until_ms: null,
    cancel_requested: 0,
    created_at_ms: 1,
    started_at_ms: null,
    updated_at_ms: 1,
    finished_at_ms: null,
    compartment_id: tenancyId,
    operation: null,
    percent_done: 0,
    ...changes,
  };
}

export function instanceRow(tenancyId: string, changes: Partial<InstanceRow> = {}): InstanceRow {
  return {
    id: newId('ins'),
    tenancy_id: tenancyId,
    compartment_id: tenancyId,
    name: 'instance',
    availability_domain: 'ad-1',
    shape: 'VM.A',
    shape_config_json: null,
    image_id: null,
    power_state: 'STOPPED',
    power_reason: null,
    cpu_count: 1,
    memory_bytes: 1,
    metadata_json: '{}',
    launch_mode: null,
    launch_options_json: null,
    freeform_tags_json: '{}',
    defined_tags_json: '{}',
    version: 1,
    created_at_ms: 1,
    deleted_at_ms: null,
    ...changes,
  };
}

export function volumeRow(tenancyId: string, changes: Partial<VolumeRow> = {}): VolumeRow {
  return {
    id: newId('vol'),
    tenancy_id: tenancyId,
    compartment_id: tenancyId,
    kind: 'boot',
    name: 'volume',
    size_bytes: 512,
    manifest_id: null,
    file_state: null,
    image_id: null,
    availability_domain: 'ad-1',
    freeform_tags_json: '{}',
    defined_tags_json: '{}',
    version: 1,
    created_at_ms: 1,
    deleted_at_ms: null,
    ...changes,
  };
}
