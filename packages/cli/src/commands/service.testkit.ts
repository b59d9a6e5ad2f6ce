import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Ended, gantry, type Running, type RunOptions, startGantry } from '../command.testkit.ts';

export interface TestService {
  readonly address: string;
  readonly profile: string;
  readonly dataFolder: string;
  /** The running `gantry serve`. */
  readonly running: Running;
  /** Runs the command, which finds the service without any set-up. */
  gantry(...args: string[]): Promise<Ended>;
  /** Runs the command, which must succeed; gives its standard output. */
  done(...args: string[]): Promise<string>;
  start(args: readonly string[], options?: RunOptions): Running;
}

/** Stops it as an operator does; it must end well. */
export async function stopService({ running }: TestService): Promise<void> {
  running.child.kill('SIGTERM');
  const { code, stderr } = await running.ended;
  assert.equal(code, 0, stderr);
}

/** Starts the real service through `gantry serve` on a free port, with `folder/data` as its folder. */
export async function startService(folder: string, ...args: string[]): Promise<TestService> {
  const environment = { GANTRY_RUN_FOLDER: join(folder, 'run') };
  const running = startGantry(
    [
      'serve',
      '--data',
      join(folder, 'data'),
      // Given twice, it would listen twice.
      ...(args.includes('--listen') ? [] : ['--listen', '127.0.0.1:0']),
      '--log-level',
      'warn',
      '-o',
      'json',
      ...args,
    ],
    { environment },
  );
  const { address, profile, dataFolder } = await announced(running);
  const start = (verb: readonly string[], options: RunOptions = {}) =>
    startGantry(verb, { ...options, environment: { ...environment, ...options.environment } });
  return {
    address,
    profile,
    dataFolder,
    running,
    gantry: (...verb) => gantry(verb, { environment }),
    async done(...verb) {
      const { code, stdout, stderr } = await gantry(verb, { environment });
      assert.equal(code, 0, `${verb.join(' ')}: ${stderr}`);
      return stdout;
    },
    start,
  };
}

/** Reads standard output up to the record that says where the service answers. */
async function announced(
  running: Running,
): Promise<{ address: string; profile: string; dataFolder: string }> {
  const { stdout } = running.child;
  if (stdout === null) throw new Error('standard output is not captured');
  return new Promise((resolve, reject) => {
    let text = '';
    stdout.on('data', (chunk) => {
      text += chunk;
      if (text.endsWith('}\n')) resolve(JSON.parse(text));
    });
    running.ended.then(
      ({ code, stderr }) => reject(new Error(`gantry serve ended with ${code}: ${stderr}`)),
      reject,
    );
  });
}

export interface StallingProxy {
  /** A profile that leads through the proxy. */
  readonly profile: string;
  /** Settles when the limit is reached. */
  readonly stalled: Promise<void>;
}

/** A TCP proxy before the service that passes on so many bytes of what clients send, and then no more. */
export async function stallingProxy(
  context: TestContext,
  service: TestService,
  folder: string,
  limitBytes: number,
): Promise<StallingProxy> {
  const stalled = Promise.withResolvers<void>();
  const sockets = new Set<Socket>();
  let passedBytes = 0;
  const { port: servicePort } = new URL(service.address);
  const server = createServer((client) => {
    const upstream = connect(Number(servicePort), '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        client.destroy();
        upstream.destroy();
      });
    }
    upstream.pipe(client);
    client.on('data', (chunk) => {
      passedBytes += chunk.length;
      if (passedBytes > limitBytes) {
        client.pause();
        stalled.resolve();
      } else if (!upstream.write(chunk)) {
        client.pause();
        upstream.once('drain', () => client.resume());
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  context.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const profile = join(folder, 'through-proxy.toml');
  const text = await readFile(service.profile, 'utf8');
  await writeFile(profile, text.replace(service.address, `http://127.0.0.1:${port}`));
  return { profile, stalled: stalled.promise };
}
