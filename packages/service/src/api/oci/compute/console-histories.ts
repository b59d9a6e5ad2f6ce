import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ConsoleHistory } from '../../../domain/console-histories.ts';
import { toJsonValue } from '../../../json.ts';
import { ifMatch } from '../if-match.ts';
import { compartmentId, compartmentOcid, idInPath, toOcid } from '../ocid.ts';
import { answerPage, cursorOf, pageQuery } from '../pages.ts';
import { retryOnce } from '../retry.ts';
import { sentTags, tagBody, tagFields } from '../tags.ts';
import { displayName, time } from './common.ts';
import type { OciComputeParts } from './compute.ts';
import { definedOnly } from './images.ts';

const parameters = z.object({ history: z.string() });
/** OCI's reference, GetConsoleHistoryContent: 10240 bytes unless said, at least that. */
const CONTENT_BYTES = 10_240;

/** What instances' serial ports had said when somebody asked. */
export function consoleHistoryRoutes(parts: OciComputeParts): FastifyPluginAsyncZod {
  const { consoleHistories, idempotency, region } = parts;
  const body = (history: ConsoleHistory) => toOciHistory(history, region.name);
  return async (app) => {
    app.post(
      '/20160918/instanceConsoleHistories',
      {
        schema: {
          body: z.object({ instanceId: z.string(), displayName: displayName.nullish(), ...tagFields }),
        },
      },
      (request, reply) =>
        retryOnce(idempotency, request, reply, 'CaptureConsoleHistory', async () => {
          const sent = request.body;
          const history = await consoleHistories.capture(request.principal, {
            instanceId: idInPath(['instance'], sent.instanceId),
            name: sent.displayName ?? undefined,
            tags: definedOnly(sentTags(sent)),
          });
          return {
            statusCode: 200,
            body: toJsonValue(body(history)),
            headers: { etag: history.etag },
          };
        }),
    );
    app.get(
      '/20160918/instanceConsoleHistories',
      {
        schema: {
          querystring: pageQuery.extend({ compartmentId: z.string(), instanceId: z.string().optional() }),
        },
      },
      async ({ query, principal }, reply) => {
        const { instanceId } = query;
        const page = await consoleHistories.list(principal, {
          compartmentId: compartmentId(query.compartmentId),
          instanceId: instanceId === undefined ? undefined : idInPath(['instance'], instanceId),
          startAfter: cursorOf(query.page),
          limit: query.limit,
        });
        return answerPage(reply, page).map(body);
      },
    );
    app.get(
      '/20160918/instanceConsoleHistories/:history',
      { schema: { params: parameters } },
      async ({ params, principal }, reply) => {
        const history = await consoleHistories.get(principal, historyId(params));
        reply.header('etag', history.etag);
        return body(history);
      },
    );
    app.get(
      '/20160918/instanceConsoleHistories/:history/data',
      {
        schema: {
          params: parameters,
          querystring: z.object({
            offset: z.coerce.number().int().min(0).default(0),
            length: z.coerce.number().int().min(1).max(1_048_576).default(CONTENT_BYTES),
          }),
        },
      },
      async ({ params, principal, query, headers }, reply) => {
        const { bytes, remainingBytes } = await consoleHistories.content(principal, historyId(params), {
          offsetBytes: query.offset,
          lengthBytes: query.length,
        });
        reply.header('opc-bytes-remaining', remainingBytes);
        // The SDK of TypeScript reads this body as JSON; all others take the bytes.
        if (headers['user-agent']?.startsWith('Oracle-TypeScriptSDK/') === true)
          return reply.type('application/json').send(JSON.stringify(Buffer.from(bytes).toString('utf8')));
        return reply.type('text/plain').send(Buffer.from(bytes));
      },
    );
    app.delete(
      '/20160918/instanceConsoleHistories/:history',
      { schema: { params: parameters } },
      async (request, reply) => {
        await consoleHistories.delete(request.principal, historyId(request.params), ifMatch(request));
        await reply.status(204).send();
      },
    );
  };
}

function historyId({ history }: z.infer<typeof parameters>): string {
  return idInPath(['consolehistory'], history);
}

function toOciHistory(history: ConsoleHistory, region: string) {
  return {
    id: toOcid('consolehistory', region, history.id),
    compartmentId: compartmentOcid(history.compartmentId),
    instanceId: toOcid('instance', region, history.instanceId),
    availabilityDomain: history.availabilityDomain,
    displayName: history.name,
    lifecycleState: 'SUCCEEDED',
    timeCreated: time(history.createdAtMs),
    ...tagBody(history.tags),
  };
}
