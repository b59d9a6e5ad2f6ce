/** An object of this service, as an address names it. */
export interface OwnObjectAddress {
  readonly namespace: string;
  readonly bucket: string;
  readonly key: string;
  /** The secret part of a pre-authenticated request; undefined for an address that needs a signature. */
  readonly token: string | undefined;
}

const PATH = /^(?:\/oci)?(?:\/p\/([^/]+))?\/n\/([^/]+)\/b\/([^/]+)\/o\/(.+)$/;

/**
 * The object that an address of this service names, `[/p/TOKEN]/n/NAMESPACE/b/BUCKET/o/OBJECT`; undefined for an
 * address of another host. `hosts` are the names (HOST:PORT) that this service goes by.
 */
export function ownObjectAddress(address: URL, hosts: readonly string[]): OwnObjectAddress | undefined {
  if (!hosts.includes(address.host)) return undefined;
  const [, token, namespace, bucket, key] = PATH.exec(address.pathname) ?? [];
  if (namespace === undefined || bucket === undefined || key === undefined) return undefined;
  try {
    return {
      token: token === undefined ? undefined : decodeURIComponent(token),
      namespace: decodeURIComponent(namespace),
      bucket: decodeURIComponent(bucket),
      key: decodeURIComponent(key),
    };
  } catch {
    return undefined;
  }
}
