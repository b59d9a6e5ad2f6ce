import type { Instance } from '../../client/api.ts';
import { connect, type ServiceClient } from '../../client/client.ts';
import { findInstance, instancePath } from '../../client/instances.ts';
import type { Context } from '../../context.ts';
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
  for (let atBytes = 0; ; ) {
    // Asked first: what it writes before it ends is read after that.
    const { state } = await client.json<Instance>('GET', instancePath(id));
    const { startBytes, bytes } = await logFrom(client, id, atBytes);
    await writeAll(process.stdout, bytes);
    atBytes = startBytes + bytes.length;
    if (!follow || state === 'STOPPED' || state === 'TERMINATED') return;
    if (bytes.length === 0) await client.sleep(LOOK_MS);
  }
}

interface LogPart {
  /** Bytes that came before, since the start of the machine. */
  readonly startBytes: number;
  readonly bytes: Uint8Array;
}

/** What came behind a number of bytes, or behind what is not kept any more. */
async function logFrom(client: ServiceClient, id: string, atBytes: number): Promise<LogPart> {
  const path = `${instancePath(id)}/serial-log`;
  for (;;) {
    const kept = await client.send('HEAD', path, {}, async ({ headers }) => ({
      startBytes: startOf(headers),
      lengthBytes: Number(headers.get('content-length') ?? 0),
    }));
    // One that is shorter was begun anew.
    const isAnew = atBytes > kept.startBytes + kept.lengthBytes;
    const offsetBytes = isAnew ? 0 : Math.max(0, atBytes - kept.startBytes);
    const startBytes = kept.startBytes + offsetBytes;
    if (offsetBytes >= kept.lengthBytes) return { startBytes, bytes: new Uint8Array() };
    const range = { range: `bytes=${offsetBytes}-` };
    const part = await client.send('GET', path, { headers: range }, async (answer) => ({
      isMoved: startOf(answer.headers) !== kept.startBytes,
      bytes: await answer.bytes(),
    }));
    if (!part.isMoved) return { startBytes, bytes: part.bytes };
  }
}

/** Of a guest that writes very much the newest part is kept: bytes are counted from its first one. */
function startOf(headers: Headers): number {
  return Number(headers.get('gantry-log-start') ?? 0);
}
