import type { FastifyRequest } from 'fastify';
import { SignatureRefused } from '../../auth/oci/authorization.ts';
import { requireSignedBody } from '../../auth/oci/signature.ts';
import type { KeyIdReader, OciSignatures } from '../../auth/oci/verifier.ts';
import { sentTarget } from '../front.ts';
import { OciError } from './errors.ts';
import { fromOcid } from './ocid.ts';
import type { RequestAuthenticator } from './request.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The body is an object's bytes: clients do not hash them, and the signature does not cover them. */
    readonly unsignedBody?: boolean;
  }
}

/** As vague as OCI's own: what exactly is wrong helps who forges, and stands in the log for who set it up. */
const REFUSED = 'The required information to complete authentication was not provided or was incorrect.';
const METHODS_WITH_BODY = ['POST', 'PUT', 'PATCH'];

/** Takes requests that are signed by an API key (docs.oracle.com, "Request Signatures"). */
export function bySignature(signatures: OciSignatures): RequestAuthenticator {
  return (request) => {
    const { method, headers } = request;
    const target = sentTarget(request.raw);
    return refusing(request, () =>
      signatures.signerOf({ method, target, headers }, { withBody: hasSignedBody(request) }),
    );
  };
}

/** Throws OciError 401 unless the body of a signed request is the one that was signed. */
export function requireBodyAsSigned(request: FastifyRequest, body: Uint8Array): Promise<void> {
  return refusing(request, async () => requireSignedBody(request.headers, body));
}

/** `TENANCY/USER/FINGERPRINT`, the first two as OCIDs. */
export const readKeyId: KeyIdReader = (keyId) => {
  const [tenancy = '', user = '', fingerprint = '', more] = keyId.split('/');
  const tenancyId = fromOcid(['tenancy'], tenancy);
  const userId = fromOcid(['user'], user);
  if (tenancyId === undefined || userId === undefined || more !== undefined) return undefined;
  return { tenancyId, userId, fingerprint: fingerprint.toLowerCase() };
};

function hasSignedBody(request: FastifyRequest): boolean {
  if (request.routeOptions.config.unsignedBody === true) return false;
  const { 'content-length': length = '0', 'transfer-encoding': coding } = request.headers;
  return METHODS_WITH_BODY.includes(request.method) || coding !== undefined || Number(length) > 0;
}

async function refusing<Result>(request: FastifyRequest, run: () => Promise<Result>): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof SignatureRefused)) throw error;
    request.log.debug({ reason: error.message, requestId: request.id }, 'a signature was refused');
    throw new OciError(401, 'NotAuthenticated', error.publicMessage ?? REFUSED);
  }
}
