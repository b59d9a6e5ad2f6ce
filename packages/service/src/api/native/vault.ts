import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { VaultJobs } from '../../domain/vault-jobs.ts';
import { errorBody } from './errors.ts';
import { startedJobBody, toJobBody } from './job-schema.ts';

/** The vault's upkeep; for administrators. */
export function vaultRoutes(vaultJobs: VaultJobs): FastifyPluginAsyncZod {
  return async (app) => {
    app.post(
      '/vault/check',
      {
        schema: {
          summary: 'Start a check of the vault',
          tags: ['vault'],
          body: z.object({ data: z.boolean().default(false).describe('Read and verify every block too') }),
          response: { 202: startedJobBody, default: errorBody },
        },
      },
      async ({ body, principal }, reply) => {
        reply.status(202);
        return { job: toJobBody(await vaultJobs.startCheck(principal, body.data)) };
      },
    );
    app.post(
      '/vault/gc',
      {
        schema: {
          summary: 'Start to remove the blocks that nothing refers to',
          tags: ['vault'],
          response: { 202: startedJobBody, default: errorBody },
        },
      },
      async ({ principal }, reply) => {
        reply.status(202);
        return { job: toJobBody(await vaultJobs.startGc(principal)) };
      },
    );
  };
}
