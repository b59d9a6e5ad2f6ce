import type { FastifyRequest } from 'fastify';
import type { Principal } from '../../../auth/tokens.ts';
import type { Tenancies } from '../../../domain/tenancies.ts';
import { OciError } from '../errors.ts';

interface BucketParameters {
  readonly namespace: string;
  readonly bucket: string;
}

/** A bucket that a path names, for who asks. */
export interface BucketOfPath {
  readonly principal: Principal;
  readonly bucket: string;
}

/** The namespace of who asks. Throws OciError 404 for another one, as for one that is not there. */
export async function requireNamespace(
  tenancies: Tenancies,
  request: FastifyRequest,
  namespace: string,
): Promise<Principal> {
  const { principal } = request;
  if ((await tenancies.get(principal)).namespace === namespace) return principal;
  throw new OciError(
    404,
    'NamespaceNotFound',
    `You do not have authorization to perform this request, or the namespace '${namespace}' could not be found.`,
  );
}

/** The bucket that the path names. A foreign namespace and an absent bucket look alike. */
export async function bucketOfPath(tenancies: Tenancies, request: FastifyRequest): Promise<BucketOfPath> {
  const { principal } = request;
  const { namespace, bucket } = request.params as BucketParameters;
  if ((await tenancies.get(principal)).namespace !== namespace) throw bucketNotFound(namespace, bucket);
  return { principal, bucket };
}

export function bucketNotFound(namespace: string, bucket: string): OciError {
  return new OciError(
    404,
    'BucketNotFound',
    `Either the bucket named '${bucket}' does not exist in the namespace '${namespace}' or you are not authorized to access it`,
  );
}
