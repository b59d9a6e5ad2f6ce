import {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyPluginAsync,
  type FastifyRequest,
  fastify,
  LogController,
} from 'fastify';
import { type FastifyPluginAsyncZod, serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { BODY_LATER, bodyHash, isRealmSigned } from '../../auth/realm.ts';
import { DomainError } from '../../domain/errors.ts';
import {
  type CopyTarget,
  hashedPart,
  type IncomingCopies,
  incomingCopy,
} from '../../domain/incoming-copies.ts';
import { LARGEST_PART_NUMBER } from '../../domain/object-limits.ts';
import { httpServer } from '../http/connections.ts';
import { bodyHeaders, requestBody, takeBodiesAsStreams } from '../http/request-body.ts';
import { answerError } from '../native/errors.ts';

export interface RealmApiParts {
  readonly logger: FastifyBaseLogger;
  /** This region's name, and the key that all regions share; without one nothing is answered. */
  readonly region: { readonly name: string; readonly realmKey: Uint8Array | undefined };
  readonly copies: IncomingCopies;
}

const targetParameters = z.object({
  namespace: z.string(),
  /** What the user is in the region that asks. */
  roles: z.enum(['administrators', 'members']),
  user: z.string(),
  bucket: z.string(),
});
const uploadParameters = targetParameters.extend({ uploadId: z.string() });
/** 10,000 parts with their hashes. */
const BODY_BYTES_MAX: number = 4 * 1024 * 1024;

/**
 * What the services of other regions ask, on behalf of users, below /realm. Every request is signed with the realm's
 * key over the region that it is meant for, its method, its target, its date and the hash of its body (auth/realm.ts).
 */
export async function realmApi(parts: RealmApiParts): Promise<FastifyInstance> {
  const app = fastify({
    loggerInstance: parts.logger,
    serverFactory: (listener) => httpServer(listener),
    routerOptions: { maxParamLength: 4096 },
    bodyLimit: BODY_BYTES_MAX,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => crypto.randomUUID(),
    frameworkErrors: (error, request, reply) => void answerError(error, request, reply),
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler(answerError);
  app.setNotFoundHandler(() => {
    throw new DomainError('NOT_FOUND', 'there is no such route between regions');
  });
  app.addHook('onRequest', async (request) => requireSigned(parts.region, request));
  app.addHook('onResponse', async (request, reply) => {
    const ms = Math.round(reply.elapsedTime);
    const path = `/realm${request.url}`;
    request.log.info({ method: request.method, path, status: reply.statusCode, ms }, 'request');
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    if (bodyHash(body) !== request.headers['gantry-body-sha256']) throw notSigned();
    return body.length === 0 ? {} : JSON.parse(body.toString('utf8'));
  });
  await app.register(copyRoutes(parts.copies));
  await app.ready();
  return app;
}

function requireSigned({ name, realmKey }: RealmApiParts['region'], request: FastifyRequest): void {
  const { authorization = '', 'gantry-date': date, 'gantry-body-sha256': bodySha256 } = request.headers;
  const [scheme, signature = ''] = authorization.split(' ');
  const isComplete = scheme === 'Gantry-Realm' && typeof date === 'string' && typeof bodySha256 === 'string';
  if (realmKey === undefined || !isComplete) throw notSigned();
  // What stands before /realm was cut off, here or on the way.
  const target = `/realm${request.url}`;
  const signed = { region: name, method: request.method, target, date, bodySha256 };
  if (!isRealmSigned(realmKey, signed, signature, Date.now())) throw notSigned();
}

function notSigned(): DomainError {
  return new DomainError('UNAUTHENTICATED', 'this is not signed by a service of this realm', {
    hint: 'all regions need the same --realm-key, the names that their peers call them by, and the right time',
  });
}

function copyRoutes(copies: IncomingCopies): FastifyPluginAsyncZod {
  const targetOf = async (request: FastifyRequest): Promise<CopyTarget> => {
    const { namespace, roles, user, bucket } = request.params as z.infer<typeof targetParameters>;
    const role = roles === 'administrators' ? 'administrator' : 'member';
    return { principal: await copies.principalOf(namespace, user, role), bucket };
  };
  const base = '/v1/namespaces/:namespace/:roles/:user/buckets/:bucket/copies';
  return async (app) => {
    app.post(base, { schema: { params: targetParameters, body: incomingCopy } }, async (request) => ({
      uploadId: (await copies.begin(await targetOf(request), request.body)) ?? null,
    }));
    app.post(`${base}/:uploadId/parts`, { schema: { params: uploadParameters } }, async (request) => ({
      parts: await copies.parts(await targetOf(request), request.params.uploadId),
    }));
    app.post(
      `${base}/:uploadId/complete`,
      {
        schema: {
          params: uploadParameters,
          body: z.object({
            parts: z.array(hashedPart).max(LARGEST_PART_NUMBER),
            condition: incomingCopy.shape.condition,
          }),
        },
      },
      async (request) => {
        const { parts, condition } = request.body;
        const target = await targetOf(request);
        const { etag } = await copies.complete(target, request.params.uploadId, parts, condition);
        return { etag };
      },
    );
    app.delete(`${base}/:uploadId`, { schema: { params: uploadParameters } }, async (request, reply) => {
      await copies.abort(await targetOf(request), request.params.uploadId);
      await reply.status(204).send();
    });
    await app.register(partRoutes(copies, base, targetOf));
  };
}

function partRoutes(
  copies: IncomingCopies,
  base: string,
  targetOf: (request: FastifyRequest) => Promise<CopyTarget>,
): FastifyPluginAsync {
  const parameters = uploadParameters.extend({ partNumber: z.coerce.number() });
  return async (app) => {
    takeBodiesAsStreams(app);
    app.put(
      `${base}/:uploadId/parts/:partNumber`,
      { bodyLimit: Number.MAX_SAFE_INTEGER, schema: { params: parameters } },
      async (request) => {
        const { expectedBytes = -1 } = bodyHeaders(request);
        // The hashes of all parts come, signed, with the request that makes them the object.
        if (request.headers['gantry-body-sha256'] !== BODY_LATER) throw notSigned();
        const { uploadId, partNumber } = request.params as z.infer<typeof parameters>;
        const part = { partNumber, lengthBytes: expectedBytes };
        return copies.putPart(await targetOf(request), uploadId, part, requestBody(request));
      },
    );
  };
}
