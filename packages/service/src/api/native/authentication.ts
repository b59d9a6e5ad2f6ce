import type { FastifyRequest } from 'fastify';
import type { Principal } from '../../auth/tokens.ts';
import { DomainError } from '../../domain/errors.ts';

/** Whose token this is, if it is one. */
export type TokenVerifier = (token: string) => Promise<Principal | undefined>;

/** Finds out who asks, from `Authorization: Bearer`, before any of the body is read. */
export function authenticate(verifyToken: TokenVerifier): (request: FastifyRequest) => Promise<void> {
  return async (request) => {
    const token = bearerToken(request.headers.authorization);
    const principal = token === undefined ? undefined : await verifyToken(token);
    if (principal === undefined) {
      throw new DomainError('UNAUTHENTICATED', 'this needs a valid token', {
        hint: 'send Authorization: Bearer with the token of the client profile',
      });
    }
    request.principal = principal;
  };
}

/** The token of `Authorization: Bearer TOKEN`. */
export function bearerToken(authorization: string | undefined): string | undefined {
  const [scheme, token] = authorization?.split(' ') ?? [];
  return scheme?.toLowerCase() === 'bearer' && token ? token : undefined;
}
