import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { DomainError } from '../../domain/errors.ts';
import { type Screens, screenKinds } from '../../domain/screens.ts';
import { sendSource } from '../http/send-source.ts';
import { sentSource } from './bodies.ts';
import { errorBody } from './errors.ts';
import { instanceParameters } from './instances.ts';

const pngBody = {
  description: 'A picture of the screen',
  content: { 'image/png': { schema: z.string().meta({ format: 'binary' }) } },
};

/** Screens of instances, and what their serial ports said. Conversations are in screen-sockets.ts. */
export function screenRoutes(screens: Screens): FastifyPluginAsyncZod {
  return async (app) => {
    app.route({
      method: ['GET', 'HEAD'],
      url: '/instances/:instanceId/serial-log',
      exposeHeadRoute: false,
      schema: {
        summary: 'What the first serial port said since the last start: any range',
        tags: ['instances'],
        params: instanceParameters,
        response: sentSource,
      },
      async handler(request, reply) {
        const { instanceId } = request.params;
        const source = await screens.serialLog(request.principal, instanceId);
        const { startBytes, lengthBytes } = source;
        const etag = `${instanceId}-${startBytes}-${lengthBytes}`;
        const headers = { 'gantry-log-start': String(startBytes) };
        return sendSource(request, reply, source, { etag, lastModifiedMs: Date.now(), headers });
      },
    });
    app.get(
      '/instances/:instanceId/screenshot',
      {
        schema: {
          summary: 'A picture of the screen as it is now, PNG',
          tags: ['instances'],
          params: instanceParameters,
          response: { 200: pngBody, default: errorBody },
        },
      },
      async ({ params, principal }, reply) => {
        const png = await screens.screenshot(principal, params.instanceId);
        reply.header('content-type', 'image/png').header('cache-control', 'no-store');
        return reply.send(Buffer.from(png.buffer, png.byteOffset, png.length) as never);
      },
    );
    app.post(
      '/instances/:instanceId/screen-tickets',
      {
        schema: {
          summary: 'A ticket that opens the screen or the console once, within a minute, without a token',
          tags: ['instances'],
          params: instanceParameters,
          body: z.object({ kind: z.enum(screenKinds).default('screen') }),
          response: {
            201: z.object({
              ticket: z.string().describe('Append it: …/screen?ticket=TICKET'),
              expiresAtMs: z.number().int(),
            }),
            default: errorBody,
          },
        },
      },
      async ({ params, principal, body }, reply) => {
        const ticket = await screens.ticket(principal, params.instanceId, body.kind);
        return reply.status(201).send(ticket);
      },
    );
    for (const kind of screenKinds) {
      const of = kind === 'screen' ? 'The screen, in RFB (VNC)' : 'The first serial port';
      app.get(
        `/instances/:instanceId/${kind}`,
        {
          schema: {
            summary: `${of}, as a websocket of the subprotocol binary`,
            tags: ['instances'],
            params: instanceParameters,
            querystring: z.object({
              ticket: z.string().optional().describe('In place of a token, for browsers'),
            }),
            response: { 101: z.null().describe('The conversation begins'), default: errorBody },
          },
        },
        async () => {
          throw new DomainError('INVALID', `the ${kind} of an instance is opened as a websocket`, {
            hint: 'send Upgrade: websocket, or use gantry instance',
          });
        },
      );
    }
  };
}
