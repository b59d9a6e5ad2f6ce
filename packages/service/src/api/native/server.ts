import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { type FastifyBaseLogger, type FastifyInstance, fastify, LogController } from 'fastify';
import { jsonSchemaTransform, serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import { DomainError } from '../../domain/errors.ts';
import type { Jobs } from '../../domain/jobs.ts';
import type { Screens } from '../../domain/screens.ts';
import type { VaultJobs } from '../../domain/vault-jobs.ts';
import { dispatchByPrefix } from '../front.ts';
import { httpServer } from '../http/connections.ts';
import { shownPath } from '../http/shown-path.ts';
import { authenticate, type TokenVerifier } from './authentication.ts';
import { type BucketRouteParts, bucketRoutes } from './buckets.ts';
import { answerError } from './errors.ts';
import { type IdentityRouteParts, identityRoutes } from './identity.ts';
import { type ImageRouteParts, imageRoutes } from './images.ts';
import { type InstanceRouteParts, instanceRoutes } from './instances.ts';
import { jobRoutes } from './jobs.ts';
import { type Metrics, observeRequests } from './metrics.ts';
import { asksForScreen, ScreenSockets } from './screen-sockets.ts';
import { screenRoutes } from './screens.ts';
import { systemRoutes } from './system.ts';
import { vaultRoutes } from './vault.ts';
import { volumeRoutes } from './volumes.ts';

export interface NativeApiParts extends ImageRouteParts, BucketRouteParts, InstanceRouteParts {
  readonly version: string;
  readonly logger: FastifyBaseLogger;
  readonly verifyToken: TokenVerifier;
  readonly jobs: Jobs;
  readonly vaultJobs: VaultJobs;
  readonly screens: Screens;
  readonly identity: IdentityRouteParts;
  readonly metrics: Metrics;
  /** What answers below other prefixes than /api, such as `/oci`. */
  readonly dialects: Readonly<Record<string, FastifyInstance>>;
  /** Resolves when the service can do its work; throws what is in the way. */
  readonly ready: () => Promise<void>;
}

/** OpenAPI names every parameter of a path; Fastify calls the one that takes all the rest `*`. */
const describeRoute: typeof jsonSchemaTransform = (route) => {
  const described = jsonSchemaTransform(route);
  if (!described.url.endsWith('/*')) return described;
  const { params, ...schema } = described.schema as { params?: object };
  const named = JSON.parse(JSON.stringify(params ?? {}).replaceAll('"*"', '"key"'));
  return { schema: { ...schema, params: named }, url: described.url.replace('*', ':key') };
};

/** The native API under /api/v1, with its description, and the operator's routes at the root. */
export async function nativeApi(parts: NativeApiParts): Promise<FastifyInstance> {
  const app = fastify({
    loggerInstance: parts.logger,
    serverFactory: (native) => httpServer(dispatchByPrefix(native, parts.dialects), asksForScreen),
    // Keys of objects stand in paths, 1024 bytes of UTF-8 percent-encoded.
    routerOptions: { maxParamLength: 4096 },
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => crypto.randomUUID(),
    // A path that is no path is refused before any hook runs.
    frameworkErrors: (error, request, reply) => {
      reply.header('x-request-id', request.id);
      void answerError(error, request, reply);
    },
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler(answerError);
  app.setNotFoundHandler((request) => {
    throw new DomainError('NOT_FOUND', `there is no route ${request.method} ${request.url.split('?')[0]}`);
  });
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
  });
  app.addHook('onResponse', async (request, reply) => {
    const { method, url } = request;
    request.log.info(
      { method, path: shownPath(url), status: reply.statusCode, ms: Math.round(reply.elapsedTime) },
      'request',
    );
  });
  observeRequests(app, parts.metrics);
  const sockets = new ScreenSockets(parts);
  sockets.attach(app.server);
  app.addHook('preClose', async () => sockets.close());
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Gantry',
        version: parts.version,
        description: 'Keeps disk images of machines and shows each in every format.',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    transform: describeRoute,
  });
  // After the description, which lists the routes that come after it.
  await app.register(systemRoutes(parts.metrics, parts.ready));
  // Its page names its parts by this prefix alone: it is registered where no other stands before it.
  await app.register(swaggerUi, {
    routePrefix: '/api/v1/docs',
    logLevel: 'warn',
    theme: { title: 'Gantry API' },
  });
  await app.register(
    async (api) => {
      api.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
      await api.register(async (authenticated) => {
        authenticated.decorateRequest('principal', null as never);
        authenticated.addHook('onRequest', authenticate(parts.verifyToken));
        await authenticated.register(bucketRoutes(parts));
        await authenticated.register(imageRoutes(parts));
        await authenticated.register(instanceRoutes(parts));
        await authenticated.register(screenRoutes(parts.screens));
        await authenticated.register(volumeRoutes(parts));
        await authenticated.register(jobRoutes(parts.jobs));
        await authenticated.register(vaultRoutes(parts.vaultJobs));
        await authenticated.register(identityRoutes(parts.identity));
      });
    },
    { prefix: '/api/v1' },
  );
  await app.ready();
  return app;
}
