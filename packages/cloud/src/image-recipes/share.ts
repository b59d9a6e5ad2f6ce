import type { models } from 'oci-objectstorage';
import type { OciClients } from '../oci/clients.ts';
import { removeObject } from '../oci/removal.ts';
import {
  type CloudAccount,
  type CloudTools,
  cleaned,
  connectAccount,
  exportArchive,
  exportPlace,
} from './cloud-image.ts';

export interface ShareWish {
  readonly source: CloudAccount;
  readonly imageId: string;
  readonly bucket: string;
  readonly expiresAt: Date;
}

/** An address that carries its permission, and what is to be removed when it is needed no more. */
export interface SharedImage {
  /** Told once: OCI keeps no copy of it. */
  readonly url: string;
  readonly imageName: string;
  readonly namespace: string;
  readonly bucket: string;
  readonly object: string;
  readonly lengthBytes: number;
  readonly preAuthenticatedRequestId: string;
  readonly expiresAt: string;
}

/**
 * Oracle's way to share a custom image with another tenancy: an export as an `.oci` archive, and a pre-authenticated
 * request to read it ("Image Import/Export", OCI documentation). When it fails, what it made is removed.
 */
export async function shareCloudImage(wish: ShareWish, tools: CloudTools): Promise<SharedImage> {
  const clients = await connectAccount(wish.source, tools);
  try {
    return await share(clients, wish, tools);
  } finally {
    clients.close();
  }
}

async function share(clients: OciClients, wish: ShareWish, { onProgress }: CloudTools): Promise<SharedImage> {
  const { image, place } = await exportPlace(clients, wish.imageId, wish.bucket);
  const step = (phase: string, overallPercent: number) =>
    onProgress({ phase, doneBytes: 0, totalBytes: null, overallPercent });
  try {
    const version = await exportArchive(clients, wish.imageId, place, (percent) =>
      step('export image', percent * 0.95),
    );
    const { preauthenticatedRequest } = await clients.call(() =>
      clients.objects.createPreauthenticatedRequest({
        namespaceName: place.namespace,
        bucketName: place.bucket,
        createPreauthenticatedRequestDetails: {
          name: place.object,
          objectName: place.object,
          accessType: 'ObjectRead' as models.CreatePreauthenticatedRequestDetails.AccessType,
          timeExpires: wish.expiresAt,
        },
      }),
    );
    step('share', 100);
    return {
      url: `${clients.objectEndpoint(place)}${preauthenticatedRequest.accessUri}`,
      imageName: image.displayName ?? wish.imageId,
      ...place,
      lengthBytes: version.lengthBytes,
      preAuthenticatedRequestId: preauthenticatedRequest.id,
      expiresAt: wish.expiresAt.toISOString(),
    };
  } catch (error) {
    throw await cleaned(clients, error, () => removeObject(clients, place));
  }
}
