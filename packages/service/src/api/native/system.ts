import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { errorBody } from './errors.ts';
import type { Metrics } from './metrics.ts';

/** For the operator and its tools: alive, ready, metrics. They need no token and tell nothing of users. */
export function systemRoutes(metrics: Metrics, ready: () => Promise<void>): FastifyPluginAsyncZod {
  return async (app) => {
    app.get(
      '/healthz',
      {
        schema: {
          summary: 'The process answers',
          tags: ['system'],
          security: [],
          response: { 200: z.object({ status: z.literal('ok') }) },
        },
      },
      async () => ({ status: 'ok' as const }),
    );
    app.get(
      '/readyz',
      {
        schema: {
          summary: 'The catalogue and the vault can be used',
          tags: ['system'],
          security: [],
          response: { 200: z.object({ status: z.literal('ready') }), 503: errorBody },
        },
      },
      async (request, reply) => {
        try {
          await ready();
          return { status: 'ready' as const };
        } catch (error) {
          request.log.error({ err: error }, 'not ready');
          reply.status(503);
          return { error: { code: 'INTERNAL', message: 'the service is not ready', requestId: request.id } };
        }
      },
    );
    app.get(
      '/metrics',
      {
        schema: {
          summary: 'Metrics in the text format of Prometheus',
          tags: ['system'],
          security: [],
          produces: ['text/plain'],
        },
      },
      async (_request, reply) =>
        reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()),
    );
  };
}
