import type { Region, SimpleAuthenticationDetailsProvider } from 'oci-common';
import type { BlockstorageClient, ComputeClient } from 'oci-core';
import type { ObjectStorageClient } from 'oci-objectstorage';
import type { WorkRequestClient } from 'oci-workrequests';
import type { OciProfile } from './profile.ts';
import { OciTransport, type RetryPolicy } from './transport.ts';

export interface OciConnection {
  readonly profile: OciProfile;
  /** Where all services answer, instead of those of the region: `http://127.0.0.1:7080/oci`. */
  readonly endpoint?: string | undefined;
  /** Instead of the profile's. */
  readonly region?: string | undefined;
  readonly signal: AbortSignal;
  readonly retryPolicy?: RetryPolicy | undefined;
}

/** An object in a bucket. */
export interface ObjectPlace {
  readonly namespace: string;
  readonly bucket: string;
  readonly object: string;
}

/** The official clients of one region, for one user. `call` is how their operations are run. */
export interface OciClients {
  readonly profile: OciProfile;
  readonly region: string;
  readonly compute: ComputeClient;
  readonly volumes: BlockstorageClient;
  readonly objects: ObjectStorageClient;
  readonly workRequests: WorkRequestClient;
  readonly transport: OciTransport;
  readonly signal: AbortSignal;
  /** Where an object is read by requests that are signed without a client. */
  objectAddress(place: ObjectPlace): string;
  /** What stands before the `accessUri` of a pre-authenticated request. */
  objectEndpoint(place: ObjectPlace): string;
  /** Runs one operation. Throws OciRefusal for what OCI refuses, STORE_UNREACHABLE when no answer comes. */
  call<Answer>(operation: () => Promise<Answer>): Promise<Answer>;
  close(): void;
}

/**
 * Connects to OCI. The SDK is loaded here: 200 ms and 50 MiB, of which importing single files of it spares nothing.
 */
export async function connectOci(connection: OciConnection): Promise<OciClients> {
  const { profile, endpoint, signal } = connection;
  const region = connection.region ?? profile.region;
  const [common, core, objectStorage, workRequests] = await Promise.all([
    import('oci-common'),
    import('oci-core'),
    import('oci-objectstorage'),
    import('oci-workrequests'),
  ]);
  const provider = authentication(common, profile);
  const transport = new OciTransport(
    new common.DefaultRequestSigner(provider),
    signal,
    connection.retryPolicy,
  );
  const parameters = { httpClient: transport };
  const clients = {
    compute: new core.ComputeClient(parameters),
    volumes: new core.BlockstorageClient(parameters),
    objects: new objectStorage.ObjectStorageClient(parameters),
    workRequests: new workRequests.WorkRequestClient(parameters),
  };
  for (const client of Object.values(clients)) {
    if (endpoint === undefined) client.region = regionNamed(common, region);
    else client.endpoint = endpoint.replace(/\/+$/, '');
  }
  return {
    ...clients,
    profile,
    region,
    objectAddress: (place) => objectAddress(common, clients.objects.endpoint, place),
    objectEndpoint: (place) => objectEndpoint(common, clients.objects.endpoint, place),
    transport,
    signal,
    call: (operation) => transport.call(operation),
    close() {
      for (const client of Object.values(clients)) client.close();
    },
  };
}

type Common = typeof import('oci-common');

function objectAddress(common: Common, template: string, place: ObjectPlace): string {
  const [n, b, o] = [place.namespace, place.bucket, place.object].map(encodeURIComponent);
  return `${objectEndpoint(common, template, place)}/n/${n}/b/${b}/o/${o}`;
}

/** The endpoint of a client is a template, which each operation fills in like this. */
function objectEndpoint(
  common: Common,
  template: string,
  { namespace, bucket, object }: ObjectPlace,
): string {
  const names = { '{namespaceName}': namespace, '{bucketName}': bucket, '{objectName}': object };
  const { EndpointBuilder } = common;
  return EndpointBuilder.populateServiceParamsInEndpoint(
    EndpointBuilder.updateEndpointTemplateForOptions(template, undefined, false),
    names,
    {},
    new Set(['namespaceName', 'bucketName', 'objectName']),
  );
}

function authentication(common: Common, profile: OciProfile): SimpleAuthenticationDetailsProvider {
  const { tenancyId, userId, fingerprint, privateKey, passphrase, sessionToken } = profile;
  const provider = new common.SimpleAuthenticationDetailsProvider(
    tenancyId,
    userId,
    fingerprint,
    privateKey,
    passphrase,
  );
  // The key of a session goes by its token ("Token-based Authentication for the CLI", Oracle).
  if (sessionToken !== undefined) provider.getKeyId = async () => `ST$${sessionToken}`;
  return provider;
}

/** A region that this SDK does not know yet is taken for one of the commercial realm, as the SDK itself does. */
function regionNamed(common: Common, region: string): Region {
  return common.Region.fromRegionId(region) ?? common.Region.register(region, common.Realm.OC1);
}
