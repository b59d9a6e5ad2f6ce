import type { Instance } from '../../client/api.ts';
import { connect, type ServiceClient } from '../../client/client.ts';
import { findInstance, instancePath } from '../../client/instances.ts';
import type { Context } from '../../context.ts';
import { CommandError } from '../../errors/command-error.ts';
import { writeAll } from '../../output/write.ts';

interface LogOptions {
  readonly follow?: boolean;
}

const LOOK_MS = 500;

/** What the guest writes is its own: a terminal gets it as a serial port gives it. */
export async function run(
  context: Context,
  [idOrName]: readonly [string],
  { follow = false }: LogOptions,
): Promise<undefined> {
  const client = await connect(context);
  const { id } = await findInstance(client, idOrName);
  for (let offsetBytes = 0; ; ) {
    // Asked first: what it writes before it ends is read after that.
    const { state } = await client.json<Instance>('GET', instancePath(id));
    const bytes = await logFrom(client, id, offsetBytes);
    await writeAll(process.stdout, bytes);
    offsetBytes += bytes.length;
    if (!follow || state === 'STOPPED' || state === 'TERMINATED') return;
    if (bytes.length === 0) await client.sleep(LOOK_MS);
  }
}

async function logFrom(client: ServiceClient, id: string, offsetBytes: number): Promise<Uint8Array> {
  const headers = { range: `bytes=${offsetBytes}-` };
  try {
    return await client.send('GET', `${instancePath(id)}/serial-log`, { headers }, (answer) =>
      answer.bytes(),
    );
  } catch (error) {
    if (error instanceof CommandError && error.code === 'RANGE_NOT_SATISFIABLE') return new Uint8Array();
    throw error;
  }
}
