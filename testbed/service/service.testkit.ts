import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { root } from '../house/files.ts';

export interface JobBody {
  readonly id: string;
  readonly state: string;
  readonly phase: string;
  readonly doneBytes: number;
  readonly attempt: number;
  readonly result: Record<string, unknown> | null;
  readonly error: { readonly code: string; readonly message: string; readonly hint: string | null } | null;
  readonly log: readonly { readonly level: string; readonly message: string }[];
}

export interface ImageBody {
  readonly id: string;
  readonly name: string;
  readonly virtualSizeBytes: number;
  readonly diskDigest: string;
}

/** A folder of its own below the system's, removed by `remove`. */
export function temporaryFolder(name: string): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), `gantry-${name}-`));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export function qemuImg(...args: string[]): string {
  return execFileSync('qemu-img', args, { encoding: 'utf8' });
}

/** Bytes that the files below a folder take, however they are linked into an image. */
export function folderBytes(path: string): number {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
}

/** The real service as a process on a data folder: it can be killed and started again. */
export class ServiceProcess {
  readonly dataFolder: string;
  readonly address: string;
  readonly #token: string;
  readonly #process: ChildProcess;

  private constructor(dataFolder: string, address: string, process: ChildProcess) {
    this.dataFolder = dataFolder;
    this.address = address;
    this.#process = process;
    const profile = readFileSync(join(dataFolder, 'client.toml'), 'utf8');
    this.#token = /^token = "(.+)"$/m.exec(profile)?.[1] ?? assert.fail('the profile has a token');
  }

  /** `wrapper` runs the service under another command, such as prlimit with its arguments. */
  static async start(
    dataFolder: string,
    wrapper: readonly string[] = [],
    moreFlags: readonly string[] = [],
  ): Promise<ServiceProcess> {
    const launcher = join(root, 'packages/cli/bin/gantry.cjs');
    const flags = [
      '--data',
      dataFolder,
      '--listen',
      '127.0.0.1:0',
      '--allow',
      '127.0.0.1',
      '--log-level',
      'error',
      ...moreFlags,
    ];
    const [program = '', ...args] = [...wrapper, process.execPath, launcher, 'serve', ...flags];
    // The command of whoever works in this clone must not find it.
    const env = { ...process.env, GANTRY_RUN_FOLDER: join(dataFolder, '..', 'running') };
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], env });
    const answers = Promise.withResolvers<string>();
    const said: string[] = [];
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [, found] = /^Gantry answers at (\S+)$/.exec(line) ?? [];
      if (found !== undefined) answers.resolve(found);
      said.push(line);
    });
    child.once('exit', () =>
      answers.reject(new Error(`the service ended before it answered: ${said.join(' | ')}`)),
    );
    const address = await answers.promise;
    // A test that fails before it stops the service must not leave it running.
    const reap = () => child.kill('SIGKILL');
    process.once('exit', reap);
    child.once('exit', () => process.off('exit', reap));
    return new ServiceProcess(dataFolder, address, child);
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  get token(): string {
    return this.#token;
  }

  async kill(): Promise<void> {
    const exited = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await exited;
  }

  /** Ends the service as a supervisor would; it must end well. */
  async stop(): Promise<void> {
    const exited = once(this.#process, 'exit');
    this.#process.kill('SIGTERM');
    const [code] = await exited;
    assert.equal(code, 0);
  }

  fetch(path: string, init: RequestInit & { duplex?: 'half' } = {}): Promise<Response> {
    const headers = { authorization: `Bearer ${this.#token}`, ...(init.headers as Record<string, string>) };
    return fetch(`${this.address}/api/v1${path}`, { ...init, headers });
  }

  /** A request with a JSON body that must end with this status; gives the answer's JSON. */
  async json<Body>(method: string, path: string, status: number, body?: unknown): Promise<Body> {
    const headers: Record<string, string> = body === undefined ? {} : { 'content-type': 'application/json' };
    const response = await this.fetch(path, {
      method,
      headers,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    assert.equal(response.status, status, `${method} ${path}: ${text}`);
    return (text === '' ? undefined : JSON.parse(text)) as Body;
  }

  async put(path: string, bytes: Uint8Array): Promise<void> {
    const response = await this.fetch(path, { method: 'PUT', body: new Uint8Array(bytes) });
    const answer = await response.text();
    assert.ok(response.ok, `PUT ${path}: ${response.status} ${answer}`);
  }

  async bytes(path: string, headers: Record<string, string> = {}): Promise<Uint8Array> {
    const response = await this.fetch(path, { headers });
    assert.ok(response.ok, `GET ${path}: ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  }

  job(id: string): Promise<JobBody> {
    return this.json('GET', `/jobs/${id}`, 200);
  }

  /** Asks until the job has ended. */
  async ended(id: string): Promise<JobBody> {
    for (;;) {
      const job = await this.job(id);
      if (!['queued', 'running'].includes(job.state)) return job;
      await pause(10);
    }
  }

  async startJob(path: string, body: unknown = {}): Promise<JobBody> {
    return (await this.json<{ job: JobBody }>('POST', path, 202, body)).job;
  }

  /** Runs a job that must succeed. */
  async runJob(path: string, body: unknown = {}): Promise<JobBody> {
    const job = await this.ended((await this.startJob(path, body)).id);
    assert.equal(job.state, 'succeeded', JSON.stringify(job.error ?? job));
    return job;
  }

  async images(): Promise<ImageBody[]> {
    return (await this.json<{ items: ImageBody[] }>('GET', '/images', 200)).items;
  }

  /** Uploads and imports; gives the image. */
  async importBytes(name: string, bytes: Uint8Array, format?: string): Promise<ImageBody> {
    await this.put(`/buckets/incoming/objects/${name}`, bytes);
    const job = await this.runJob('/images', { name, format, source: { bucket: 'incoming', key: name } });
    return this.json('GET', `/images/${job.result?.imageId}`, 200);
  }

  /** The vault, read whole, has nothing wrong. */
  async requireCleanVault(): Promise<void> {
    const { result } = await this.runJob('/vault/check', { data: true });
    assert.deepEqual(result?.findings, []);
  }
}
