import { randomBytes } from 'node:crypto';
import { StoreError } from '@gantry/disk';
import type { models } from 'oci-core';
import { connectOci, type ObjectPlace, type OciClients } from '../oci/clients.ts';
import {
  exportedVersion,
  getImage,
  namespaceOf,
  requireBucket,
  startExport,
  waitForImage,
} from '../oci/images.ts';
import type { ObjectVersion } from '../oci/object-source.ts';
import { readOciProfile } from '../oci/profile.ts';
import type { Leftover } from '../oci/removal.ts';

export interface CloudTools {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: CloudProgress) => void;
}

/** Work inside a cloud, which counts no bytes for us. */
export interface CloudProgress {
  readonly phase: string;
  readonly doneBytes: number;
  readonly totalBytes: null;
  /** 0 to 100. */
  readonly overallPercent: number;
}

/** A user of OCI, where they are. */
export interface CloudAccount {
  readonly profile: string;
  readonly configFile?: string | undefined;
  /** Instead of the profile's. */
  readonly region?: string | undefined;
  /** Where all of OCI's services answer, instead of those of the region. */
  readonly endpoint?: string | undefined;
}

/** Something that went wrong, with what it left in the cloud. */
export class RecipeFailed extends StoreError {
  readonly leftovers: readonly Leftover[];

  constructor(cause: StoreError, leftovers: readonly Leftover[]) {
    super(cause.code, cause.message, { where: cause.where, hint: cause.hint, cause: cause.cause });
    this.leftovers = leftovers;
  }
}

export async function connectAccount(
  { profile, configFile, region, endpoint }: CloudAccount,
  { environment, signal }: CloudTools,
): Promise<OciClients> {
  const user = await readOciProfile({ profile, file: configFile, environment });
  return connectOci({ profile: user, endpoint, region, signal });
}

/** Looks at the image and the bucket, and says where the export would go: under a name of its own. */
export async function exportPlace(
  clients: OciClients,
  imageId: string,
  bucket: string,
): Promise<{ readonly image: models.Image; readonly place: ObjectPlace }> {
  const image = await getImage(clients, imageId);
  if (image.lifecycleState !== 'AVAILABLE') {
    throw new StoreError('STORE_REFUSED', `the image is ${image.lifecycleState}`, {
      where: imageId,
      hint: 'wait until it is AVAILABLE, then try again',
    });
  }
  const namespace = await namespaceOf(clients);
  await requireBucket(clients, namespace, bucket);
  const name = (image.displayName ?? 'image').replace(/[^\w.@+-]+/g, '-').slice(0, 80);
  return { image, place: { namespace, bucket, object: `${name}-${randomBytes(4).toString('hex')}.oci` } };
}

export async function exportArchive(
  clients: OciClients,
  imageId: string,
  place: ObjectPlace,
  onPercent: (percent: number) => void,
): Promise<ObjectVersion> {
  const workRequestId = await startExport(clients, imageId, place, crypto.randomUUID());
  await waitForImage(clients, imageId, workRequestId, onPercent);
  return exportedVersion(clients, place);
}

/** The failure, with what could not be removed; after an abort nothing is removed, because work may go on with it. */
export async function cleaned(
  clients: OciClients,
  error: unknown,
  ...removals: readonly (() => Promise<Leftover | undefined>)[]
): Promise<unknown> {
  if (clients.signal.aborted || !(error instanceof StoreError)) return error;
  const leftovers = error instanceof RecipeFailed ? [...error.leftovers] : [];
  for (const remove of removals) {
    const left = await remove();
    if (left !== undefined) leftovers.push(left);
  }
  return leftovers.length === 0 ? error : new RecipeFailed(error, leftovers);
}
