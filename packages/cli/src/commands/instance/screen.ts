import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { StoreError } from '@gantry/disk';
import { connect, type ServiceClient } from '../../client/client.ts';
import { openInstanceSocket } from '../../client/instance-socket.ts';
import { findInstance } from '../../client/instances.ts';
import type { Context } from '../../context.ts';

interface ScreenOptions {
  readonly port?: number;
}

/** Where VNC's displays begin, and as many as are tried. */
const FIRST_PORT = 5900;
const PORTS = 100;
const HOST = '127.0.0.1';

/** Lets VNC viewers of this machine see the screen, each through a connection of its own, until it is interrupted. */
export async function run(
  context: Context,
  [idOrName]: readonly [string],
  { port }: ScreenOptions,
): Promise<undefined> {
  const { signal, progress, output } = context;
  const client = await connect(context);
  const { id, name } = await findInstance(client, idOrName);
  // Refused now rather than to the first viewer.
  (await openInstanceSocket(client, id, 'screen')).destroy();
  const viewers = new Set<Socket>();
  const server = createServer((viewer) => {
    viewers.add(viewer);
    viewer.once('close', () => viewers.delete(viewer));
    show(client, id, viewer).catch((error) => progress.note(`a viewer was sent away: ${error.message}`));
  });
  const bound = await listening(server, port);
  try {
    const address = `${HOST}:${bound}`;
    await output.record({ instance: id, address }, [`VNC answers at ${address}; Ctrl-C ends it`]);
    progress.note(`the screen of ${name} is shown to everybody on this machine meanwhile`);
    if (!signal.aborted) await once(signal, 'abort');
  } finally {
    server.close();
    for (const viewer of viewers) viewer.destroy();
  }
}

async function show(client: ServiceClient, id: string, viewer: Socket): Promise<void> {
  viewer.on('error', () => viewer.destroy());
  try {
    const machine = await openInstanceSocket(client, id, 'screen');
    // Whichever side ends it ends both.
    await Promise.all([pipeline(viewer, machine), pipeline(machine, viewer)]).catch(() => {});
    machine.destroy();
  } finally {
    viewer.destroy();
  }
}

/** Listens at the port, or at the first free one of VNC's. Throws STORE_REFUSED. */
async function listening(server: Server, port: number | undefined): Promise<number> {
  const ports = port === undefined ? Array.from({ length: PORTS }, (_, i) => FIRST_PORT + i) : [port];
  for (const candidate of ports) {
    if (await isBound(server, candidate)) return (server.address() as AddressInfo).port;
  }
  throw new StoreError(
    'STORE_REFUSED',
    `no port for VNC is free: ${ports.length === 1 ? port : `${FIRST_PORT} to ${FIRST_PORT + PORTS - 1}`}`,
    {
      where: HOST,
      hint: 'name another with --port',
    },
  );
}

function isBound(server: Server, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(false);
      else reject(error);
    };
    server.once('error', onError);
    server.listen(port, HOST, () => {
      server.off('error', onError);
      resolve(true);
    });
  });
}
