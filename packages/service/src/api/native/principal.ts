import type { Principal } from '../../auth/tokens.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks. The authentication hook sets it before any route under /api/v1 runs. */
    principal: Principal;
  }
}

export type { Principal };
