import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { ServiceProcess } from '../service/service.testkit.ts';
import { inTurn, type Run, timed } from './measure.ts';

export interface TransferRow {
  readonly what: string;
  readonly plainBytesPerSecond: number;
  readonly gantryBytesPerSecond: number;
}

/** Object PUT and GET with curl, beside a server of a few lines on node:http that writes and reads a file. */
export async function benchTransfers(
  service: ServiceProcess,
  folder: string,
  file: string,
  lengthBytes: number,
  rounds: number,
): Promise<TransferRow[]> {
  const plain = await startPlain(folder);
  const object = `${service.address}/api/v1/buckets/bench/objects/object`;
  const curl = (...args: string[]): Promise<Run> =>
    timed('curl', [
      '--silent',
      '--show-error',
      '--fail',
      '-H',
      `Authorization: Bearer ${service.token}`,
      '-o',
      '/dev/null',
      ...args,
    ]);
  const put = await inTurn(rounds, {
    plain: () => curl('--upload-file', file, plain.address),
    gantry: () => curl('--upload-file', file, object),
  });
  const get = await inTurn(rounds, { plain: () => curl(plain.address), gantry: () => curl(object) });
  await plain.stop();
  const row = (what: string, runs: { plain: Run; gantry: Run }) => ({
    what,
    plainBytesPerSecond: lengthBytes / runs.plain.seconds,
    gantryBytesPerSecond: lengthBytes / runs.gantry.seconds,
  });
  return [row('object PUT', put), row('object GET', get)];
}

/** In a thread of its own, so that it is not slowed down by what measures it. */
async function startPlain(folder: string): Promise<{ address: string; stop(): Promise<unknown> }> {
  const worker = new Worker(fileURLToPath(import.meta.resolve('./plain-server.ts')), {
    workerData: join(folder, 'plain-object'),
    execArgv: ['--conditions=source'],
  });
  const [address] = (await once(worker, 'message')) as [string];
  return { address, stop: () => worker.terminate() };
}
