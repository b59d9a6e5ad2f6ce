import type { Updateable } from 'kysely';
import { type Page, toPage } from '../page.ts';
import type { VolumeAttachmentRow, VolumeRow } from '../schema.ts';
import { forUpdate, type Queries } from '../transactions.ts';

export async function insertVolume(queries: Queries, row: VolumeRow): Promise<void> {
  await queries.insertInto('volumes').values(row).execute();
}

/** The volume, also one that was deleted. */
export function findVolume(queries: Queries, tenancyId: string, id: string): Promise<VolumeRow | undefined> {
  return queries
    .selectFrom('volumes')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where('id', '=', id)
    .executeTakeFirst();
}

/** The volume, which nothing changes until the transaction ends. */
export function lockVolume(
  transaction: Queries,
  tenancyId: string,
  id: string,
): Promise<VolumeRow | undefined> {
  const query = transaction
    .selectFrom('volumes')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where('id', '=', id);
  return forUpdate(transaction, query).executeTakeFirst();
}

export function updateVolume(
  queries: Queries,
  id: string,
  changes: Updateable<VolumeRow>,
): Promise<VolumeRow> {
  return queries
    .updateTable('volumes')
    .set((row) => ({ ...changes, version: row('version', '+', 1) }))
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** A volume that an instance has. */
export interface AttachedVolume {
  readonly attachment: VolumeAttachmentRow;
  readonly volume: VolumeRow;
}

/** What an instance has now: what it starts from first, then in the order in which it came. */
export async function attachedVolumes(queries: Queries, instanceId: string): Promise<AttachedVolume[]> {
  const attachments = await queries
    .selectFrom('volume_attachments')
    .selectAll()
    .where('instance_id', '=', instanceId)
    .where('detached_at_ms', 'is', null)
    .orderBy('kind', 'desc')
    .orderBy('id')
    .execute();
  if (attachments.length === 0) return [];
  const ids = attachments.map(({ volume_id }) => volume_id);
  const volumes = await queries.selectFrom('volumes').selectAll().where('id', 'in', ids).execute();
  return attachments.flatMap((attachment) => {
    const volume = volumes.find(({ id }) => id === attachment.volume_id);
    return volume === undefined ? [] : [{ attachment, volume }];
  });
}

/** The attachments of these volumes that have not ended. */
export function attachmentsOf(
  queries: Queries,
  volumeIds: readonly string[],
): Promise<VolumeAttachmentRow[]> {
  if (volumeIds.length === 0) return Promise.resolve([]);
  return queries
    .selectFrom('volume_attachments')
    .selectAll()
    .where('volume_id', 'in', [...volumeIds])
    .where('detached_at_ms', 'is', null)
    .execute();
}

/** Volumes of all tenancies that have a file: those that are there, or those that were deleted. */
export function volumesWithFiles(
  queries: Queries,
  { isDeleted }: { isDeleted: boolean },
): Promise<VolumeRow[]> {
  return queries
    .selectFrom('volumes')
    .selectAll()
    .where('file_state', 'is not', null)
    .where('deleted_at_ms', isDeleted ? 'is not' : 'is', null)
    .execute();
}

/** What all volumes of all tenancies could come to hold. */
export async function sumOfVolumes(queries: Queries): Promise<number> {
  const { bytes } = await queries
    .selectFrom('volumes')
    .select(({ fn }) => fn.sum<number | null>('size_bytes').as('bytes'))
    .where('deleted_at_ms', 'is', null)
    .executeTakeFirstOrThrow();
  return Number(bytes ?? 0);
}

export function findAttachment(queries: Queries, id: string): Promise<VolumeAttachmentRow | undefined> {
  return queries.selectFrom('volume_attachments').selectAll().where('id', '=', id).executeTakeFirst();
}

/** Marks an attachment as ended. */
export async function endAttachment(queries: Queries, id: string, nowMs: number): Promise<void> {
  await queries
    .updateTable('volume_attachments')
    .set({ detached_at_ms: nowMs })
    .where('id', '=', id)
    .where('detached_at_ms', 'is', null)
    .execute();
}

export interface VolumeListing {
  readonly tenancyId: string;
  /** Of both kinds when absent, here and in the listing of attachments. */
  readonly kind?: VolumeRow['kind'] | undefined;
  readonly compartmentIds?: readonly string[] | undefined;
  readonly availabilityDomain?: string | undefined;
  /** A cursor: the id of the volume before. */
  readonly startAfter?: string | undefined;
  readonly limit: number;
}

/** Newest first. Deleted volumes are among them until they are forgotten. */
export async function listVolumes(queries: Queries, listing: VolumeListing): Promise<Page<VolumeRow>> {
  const { tenancyId, kind, compartmentIds, availabilityDomain, startAfter, limit } = listing;
  let query = queries.selectFrom('volumes').selectAll().where('tenancy_id', '=', tenancyId);
  if (kind !== undefined) query = query.where('kind', '=', kind);
  if (compartmentIds !== undefined) query = query.where('compartment_id', 'in', [...compartmentIds]);
  if (availabilityDomain !== undefined) query = query.where('availability_domain', '=', availabilityDomain);
  if (startAfter !== undefined) query = query.where('id', '<', startAfter);
  const rows = await query
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, (row) => row.id);
}

/** Forgets volumes that were deleted before `beforeMs` and that no instance which is still known had. */
export async function forgetVolumes(queries: Queries, beforeMs: number): Promise<void> {
  await queries
    .deleteFrom('volumes')
    .where('deleted_at_ms', '<', beforeMs)
    .where('file_state', 'is', null)
    .where('id', 'not in', queries.selectFrom('volume_attachments').select('volume_id'))
    .execute();
}

export async function insertVolumeAttachment(queries: Queries, row: VolumeAttachmentRow): Promise<void> {
  await queries.insertInto('volume_attachments').values(row).execute();
}

export interface AttachmentListing {
  readonly tenancyId: string;
  readonly kind?: VolumeAttachmentRow['kind'] | undefined;
  readonly compartmentIds?: readonly string[] | undefined;
  readonly id?: string | undefined;
  readonly instanceId?: string | undefined;
  readonly volumeId?: string | undefined;
  readonly isAttached?: boolean | undefined;
  readonly startAfter?: string | undefined;
  readonly limit: number;
}

/** Newest first. */
export async function listVolumeAttachments(
  queries: Queries,
  listing: AttachmentListing,
): Promise<Page<VolumeAttachmentRow>> {
  const { tenancyId, kind, compartmentIds, id, instanceId, volumeId, isAttached, startAfter, limit } =
    listing;
  let query = queries.selectFrom('volume_attachments').selectAll().where('tenancy_id', '=', tenancyId);
  if (kind !== undefined) query = query.where('kind', '=', kind);
  if (compartmentIds !== undefined) query = query.where('compartment_id', 'in', [...compartmentIds]);
  if (id !== undefined) query = query.where('id', '=', id);
  if (instanceId !== undefined) query = query.where('instance_id', '=', instanceId);
  if (volumeId !== undefined) query = query.where('volume_id', '=', volumeId);
  if (isAttached !== undefined) query = query.where('detached_at_ms', isAttached ? 'is' : 'is not', null);
  if (startAfter !== undefined) query = query.where('id', '<', startAfter);
  const rows = await query
    .orderBy('id', 'desc')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, (row) => row.id);
}

export async function detachVolumes(queries: Queries, instanceId: string, nowMs: number): Promise<void> {
  await queries
    .updateTable('volume_attachments')
    .set({ detached_at_ms: nowMs })
    .where('instance_id', '=', instanceId)
    .where('detached_at_ms', 'is', null)
    .execute();
}
