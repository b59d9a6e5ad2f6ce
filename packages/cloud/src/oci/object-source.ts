import { type ByteSource, type HttpAnswer, type HttpFetch, httpSource, StoreError } from '@gantry/disk';
import type { ObjectPlace, OciClients } from './clients.ts';

/** One version of an object, which later readings are held to. */
export interface ObjectVersion {
  readonly etag: string;
  readonly lengthBytes: number;
  /** What a Gantry service says that the image in the object is; OCI itself says nothing. */
  readonly diskDigest?: string;
}

/** What is there now. Throws STORE_NOT_FOUND when nothing is. */
export async function objectVersion(clients: OciClients, place: ObjectPlace): Promise<ObjectVersion> {
  const where = clients.objectAddress(place);
  const head = await clients.call(() =>
    clients.objects.headObject({
      namespaceName: place.namespace,
      bucketName: place.bucket,
      objectName: place.object,
    }),
  );
  const { eTag, contentLength } = head;
  if (typeof eTag !== 'string' || eTag === '' || !Number.isSafeInteger(contentLength)) {
    throw new StoreError('STORE_REFUSED', `${where}: OCI names no ETag or no length`, { where });
  }
  return { etag: eTag, lengthBytes: contentLength };
}

/**
 * An object as a source, read by signed ranges of one version. Throws STORE_CHANGED when another one stands there;
 * the rest as `httpSource`.
 */
export async function objectSource(
  clients: OciClients,
  place: ObjectPlace,
  version: ObjectVersion,
): Promise<{ readonly source: ByteSource; readonly diskDigest: string | undefined }> {
  const address = clients.objectAddress(place);
  let diskDigest: string | undefined;
  const signedFetch: HttpFetch = async (url, { method, headers, signal }) => {
    const signed = await clients.transport.sign(method, url, withOciEtag(headers));
    const answer = await fetch(url, { method, headers: signed, signal, redirect: 'error' });
    diskDigest ??= answer.headers.get('gantry-disk-digest') ?? undefined;
    return withHttpEtag(answer);
  };
  const source = await httpSource(address, { fetch: signedFetch, signal: clients.signal });
  if (source.version === `${quoted(version.etag)} ${version.lengthBytes}`) return { source, diskDigest };
  await source.close();
  throw new StoreError('STORE_CHANGED', `${place.object} is not the object that was exported any more`, {
    where: `${address}: ETag ${version.etag} became ${source.version}`,
    hint: 'somebody wrote to it: start the import again in a new folder, into a bucket that nobody else writes to',
  });
}

/** OCI's ETags stand without the quotation marks of RFC 9110, section 8.8.3: they are added, and taken off again. */
function quoted(etag: string): string {
  return /^(?:W\/)?"/.test(etag) ? etag : `"${etag}"`;
}

function withHttpEtag({ status, headers, body }: Response): HttpAnswer {
  const get = (name: string) => {
    const value = headers.get(name);
    return name === 'etag' && value !== null ? quoted(value) : value;
  };
  return { status, headers: { get }, body };
}

function withOciEtag(headers: Readonly<Record<string, string>>): Record<string, string> {
  const condition = headers['if-match'];
  return condition === undefined ? headers : { ...headers, 'if-match': condition.replace(/^"(.*)"$/, '$1') };
}
