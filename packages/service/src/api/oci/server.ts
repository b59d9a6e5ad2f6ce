import {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyPluginAsync,
  fastify,
  LogController,
} from 'fastify';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import { keepSentTarget, sentTarget } from '../front.ts';
import { httpServer } from '../http/connections.ts';
import { shownPath } from '../http/shown-path.ts';
import { answerOciError, OciError } from './errors.ts';
import { inOcids } from './ocid.ts';
import { inOneWay, parseQuery } from './query.ts';
import { type RequestAuthenticator, takeBodies } from './request.ts';

export interface OciApiParts {
  readonly logger: FastifyBaseLogger;
  readonly region: string;
  /** Finds out who signed a request. */
  readonly authenticate: RequestAuthenticator;
  /** Routes of signed requests: identity, compute, object storage. They find `request.principal`. */
  readonly signedRoutes: readonly FastifyPluginAsync[];
  /** Routes whose paths carry their own permission: pre-authenticated requests. */
  readonly openRoutes: readonly FastifyPluginAsync[];
}

/**
 * The OCI dialect: what the official SDKs and the OCI CLI send, from the root of a host or below a prefix that was
 * cut off (api/front.ts). Paths as in Oracle's API references: `/20160918/…` of the core, identity and work request
 * services, `/n/…`, `/p/…` and `/workRequests/…` of object storage.
 */
export async function ociApi(parts: OciApiParts): Promise<FastifyInstance> {
  const app = fastify({
    loggerInstance: parts.logger,
    serverFactory: (listener) => httpServer(listener),
    routerOptions: { maxParamLength: 4096, querystringParser: parseQuery },
    rewriteUrl: (message) => {
      keepSentTarget(message);
      return inOneWay(message.url ?? '/', message.headers);
    },
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => crypto.randomUUID(),
    frameworkErrors: (error, request, reply) => void answerOciError(error, request, reply),
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler(answerOciError);
  app.setNotFoundHandler((request) => {
    const path = request.url.split('?')[0];
    throw new OciError(404, 'NotAuthorizedOrNotFound', `there is no operation ${request.method} ${path}`);
  });
  app.addHook('onResponse', async (request, reply) => {
    const ms = Math.round(reply.elapsedTime);
    request.log.info(
      { method: request.method, path: shownPath(sentTarget(request.raw)), status: reply.statusCode, ms },
      'request',
    );
  });
  app.addHook('onRequest', async (request, reply) => {
    // The client's own id comes back with ours behind it, as OCI appends its segments.
    const sent = request.headers['opc-request-id'] ?? request.headers['opc-client-request-id'];
    const theirs = typeof sent === 'string' && /^[\w/.-]{1,128}$/.test(sent) ? `${sent}/` : '';
    reply.header('opc-request-id', `${theirs}${request.id}`);
    if (request.headers['opc-client-request-id'] !== undefined && theirs !== '')
      reply.header('opc-client-request-id', sent);
  });
  app.addHook('preSerialization', async (_request, reply, payload) => {
    if (reply.statusCode < 400 || !isError(payload)) return payload;
    return { ...payload, message: inOcids(payload.message, parts.region) };
  });
  app.decorateRequest('principal', null as never);
  takeBodies(app);
  await app.register(async (open) => {
    for (const routes of parts.openRoutes) await open.register(routes);
  });
  await app.register(async (signed) => {
    signed.addHook('onRequest', async (request) => {
      request.principal = await parts.authenticate(request);
    });
    for (const routes of parts.signedRoutes) await signed.register(routes);
  });
  await app.ready();
  return app;
}

function isError(payload: unknown): payload is { readonly message: string } {
  return typeof (payload as { message?: unknown } | null)?.message === 'string';
}
