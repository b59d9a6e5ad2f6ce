import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { createWebSocketStream, WebSocket } from 'ws';
import type { ServiceClient } from './client.ts';
import { instancePath } from './instances.ts';

/** A picture of a large screen, uncompressed, fits into a message. */
const MESSAGE_BYTES_MAX: number = 64 * 1024 * 1024;

/** A conversation with the screen of an instance, in RFB, or with its first serial port. Throws what the service refuses. */
export async function openInstanceSocket(
  client: ServiceClient,
  instanceId: string,
  kind: 'screen' | 'console',
): Promise<Duplex> {
  const path = `${instancePath(instanceId)}/${kind}`;
  const address = client.address(path).replace(/^http/, 'ws');
  const socket = new WebSocket(address, ['binary'], {
    headers: { authorization: client.authorization },
    perMessageDeflate: false,
    maxPayload: MESSAGE_BYTES_MAX,
  });
  // Before it opens: the first message may come with the answer that opens it.
  const stream = createWebSocketStream(socket);
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    stream.on('error', (error) => reject(client.unreachable(error)));
    socket.once('unexpected-response', (_, answer: IncomingMessage) => {
      bodyOf(answer).then(async (text) => {
        const { statusCode = 502, statusMessage = '' } = answer;
        const response = new Response(text, { status: statusCode, statusText: statusMessage });
        reject(await client.refusal(`GET ${path}`, response));
        socket.terminate();
      }, reject);
    });
  });
  return stream;
}

async function bodyOf(answer: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of answer.setEncoding('utf8')) text += chunk;
  return text;
}
