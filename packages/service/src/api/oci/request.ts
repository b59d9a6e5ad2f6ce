import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Principal } from '../../auth/tokens.ts';
import { requireBodyAsSigned } from './authentication.ts';
import { OciError } from './errors.ts';

/** Finds out who signed a request. Throws OciError 401 for what is not signed as it must be. */
export type RequestAuthenticator = (request: FastifyRequest) => Promise<Principal>;

/** Bodies of JSON; bodies of objects are taken as streams by their own routes. */
const JSON_BYTES_MAX = 1024 * 1024;

/**
 * Takes JSON bodies as OCI's clients send them: an empty one is `{}` (the SDK drops a body that has nothing in it),
 * whatever its type is called.
 */
export function takeBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  const parse = async (request: FastifyRequest, body: Buffer) => {
    // Requests that carry their permission in their path are not signed.
    if (request.principal !== null) await requireBodyAsSigned(request, body);
    return parseBody(body);
  };
  app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: JSON_BYTES_MAX }, parse);
}

function parseBody(body: Buffer): unknown {
  if (body.length === 0) return {};
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    throw new OciError(400, 'CannotParseRequest', 'the body is no JSON');
  }
}
