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
import { answerOciError, OciError } from './errors.ts';
import { inOneWay, parseQuery } from './query.ts';
import { type RequestAuthenticator, takeBodies } from './request.ts';

export interface OciApiParts {
  readonly logger: FastifyBaseLogger;
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
    serverFactory: httpServer,
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
    const [path] = sentTarget(request.raw).split('?');
    const ms = Math.round(reply.elapsedTime);
    request.log.info(
      { method: request.method, path: withoutTokens(path), status: reply.statusCode, ms },
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

/** A path for the log: the token of a pre-authenticated request is a permission. */
function withoutTokens(path = ''): string {
  return path.replace(/\/p\/[^/]+/, '/p/…');
}
