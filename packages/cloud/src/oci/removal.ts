import type { ObjectPlace, OciClients } from './clients.ts';
import { isNotFound } from './refusal.ts';

/** Something in the cloud that could not be removed. */
export interface Leftover {
  readonly kind: 'image' | 'object' | 'pre-authenticated request';
  readonly id: string;
  readonly why: string;
  /** A command of the OCI CLI. */
  readonly remove: string;
}

/** Removes something; undefined when it is gone, whoever did it. An abort is thrown. */
async function removed(
  clients: OciClients,
  leftover: Omit<Leftover, 'why'>,
  remove: () => Promise<unknown>,
): Promise<Leftover | undefined> {
  try {
    await clients.call(remove);
  } catch (error) {
    clients.signal.throwIfAborted();
    if (!isNotFound(error)) return { ...leftover, why: (error as Error).message };
  }
  return undefined;
}

export function removeImage(clients: OciClients, imageId: string): Promise<Leftover | undefined> {
  const remove = `oci compute image delete --image-id ${imageId} --region ${clients.region}`;
  return removed(clients, { kind: 'image', id: imageId, remove }, () =>
    clients.compute.deleteImage({ imageId }),
  );
}

/** Not what somebody else put there since, when the ETag is known. */
export function removeObject(
  clients: OciClients,
  { namespace, bucket, object }: ObjectPlace,
  etag?: string,
): Promise<Leftover | undefined> {
  const remove = `oci os object delete --namespace ${namespace} --bucket-name ${bucket} --object-name ${object} --region ${clients.region}`;
  return removed(clients, { kind: 'object', id: `${bucket}/${object}`, remove }, () =>
    clients.objects.deleteObject({
      namespaceName: namespace,
      bucketName: bucket,
      objectName: object,
      ...(etag !== undefined && { ifMatch: etag }),
    }),
  );
}
