import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { convert, denyReferences, diskDigest, memorySink, memorySource, openDisk } from '@gantry/disk';
import { FixedTimeDelayStrategy, MaxTimeTerminationStrategy } from 'oci-common';
import { ComputeClient, type ComputeWaiter, type models } from 'oci-core';
import { WorkRequestClient } from 'oci-workrequests';
import {
  BUCKET,
  NAMESPACE,
  patterned,
  type ServiceWithBucket,
  startWithBucket,
} from './object-storage.testkit.ts';
import type { OciUser } from './oci.testkit.ts';

const MIB = 1024 * 1024;
/** A disk with data, zeros, and an end that fills no block. */
export const raw: Buffer = Buffer.concat([
  patterned(700_000),
  Buffer.alloc(2 * MIB),
  patterned(512 * 700, 7),
]);

/** The clients wait as long as they would, and look more often. */
export const quickly = {
  delayStrategy: new FixedTimeDelayStrategy(0.05),
  terminationStrategy: new MaxTimeTerminationStrategy(60),
};

export interface ServiceWithImages extends ServiceWithBucket {
  readonly compute: ComputeClient & { waiters: ComputeWaiter };
  readonly work: WorkRequestClient;
  computeOf(user: OciUser): ComputeClient;
  /** Puts an object into the bucket. */
  put(objectName: string, bytes: Uint8Array): Promise<void>;
  /** Where an object of the bucket is, as the source of an image. */
  source(objectName: string, more?: object): NonNullable<models.CreateImageDetails['imageSourceDetails']>;
  /** Imports an object and waits for the end; gives the image as it is then. */
  imported(objectName: string, details?: Record<string, unknown>): Promise<models.Image>;
  /** Messages of a work request's errors. */
  errorsOf(workRequestId: string): Promise<string[]>;
  logOf(workRequestId: string): Promise<string[]>;
}

export async function startWithImages(
  t: TestContext,
  options: Parameters<typeof startWithBucket>[1] = {},
): Promise<ServiceWithImages> {
  const service = await startWithBucket(t, options);
  const computeOf = (user: OciUser): ComputeClient => service.client(ComputeClient, user);
  const work = service.client(WorkRequestClient);
  const compute = service.client(ComputeClient) as ServiceWithImages['compute'];
  compute.waiters = compute.createWaiters(work, quickly);
  const source: ServiceWithImages['source'] = (objectName, more = {}) => ({
    sourceType: 'objectStorageTuple',
    namespaceName: NAMESPACE,
    bucketName: BUCKET,
    objectName,
    ...more,
  });
  return {
    ...service,
    compute,
    work,
    computeOf,
    source,
    async put(objectName, bytes) {
      await service.storage.putObject({
        ...service.at,
        objectName,
        putObjectBody: Buffer.from(bytes),
        contentLength: bytes.length,
      });
    },
    async imported(objectName, details = {}) {
      const { response, workRequestResponse } = await compute.waiters.forCreateImage({
        createImageDetails: {
          compartmentId: service.admin.tenancyId,
          displayName: objectName,
          imageSourceDetails: source(objectName),
          ...details,
        } as models.CreateImageDetails,
      });
      const { status, id } = workRequestResponse.workRequest;
      const errors = await work.listWorkRequestErrors({ workRequestId: id });
      assert.equal(status, 'SUCCEEDED', JSON.stringify(errors.items));
      return (await compute.getImage({ imageId: response.image.id })).image;
    },
    async errorsOf(workRequestId) {
      const { items } = await work.listWorkRequestErrors({ workRequestId });
      return items.map(({ code, message }) => `${code}: ${message}`);
    },
    async logOf(workRequestId) {
      const { items } = await work.listWorkRequestLogs({ workRequestId });
      return items.map(({ message }) => message);
    },
  };
}

export async function digestOf(bytes: Uint8Array, format?: string): Promise<string> {
  return diskDigest(await openDisk(memorySource(bytes), { references: denyReferences, format }));
}

/** The disk as a file of a format. */
export async function imageBytes(format: string, options = {}, disk: Uint8Array = raw): Promise<Uint8Array> {
  const sink = memorySink();
  await convert(await openDisk(memorySource(disk), { references: denyReferences, format: 'raw' }), sink, {
    format,
    options,
  });
  return sink.bytes();
}

export interface Receiver {
  readonly address: string;
  /** What was asked, `METHOD path`, in order. */
  readonly requests: string[];
  readonly files: Map<string, Buffer>;
}

/**
 * A server that takes files, in parts as OCI does when `inParts`, for the length of a test. `hold` is waited for
 * before a request is answered.
 */
export async function startReceiver(
  t: TestContext,
  options: {
    readonly inParts?: boolean;
    readonly mayRead?: boolean;
    readonly hold?: (request: string) => Promise<void>;
    readonly status?: (request: string) => number | undefined;
  } = {},
): Promise<Receiver> {
  const requests: string[] = [];
  const files = new Map<string, Buffer>();
  const parts = new Map<number, Buffer>();
  const server = http.createServer(async (request, response) => {
    const path = new URL(request.url ?? '/', 'http://x').pathname;
    const told = `${request.method} ${path}`;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    requests.push(told);
    await options.hold?.(told);
    const status = options.status?.(told);
    if (status !== undefined) return response.writeHead(status).end();
    const body = Buffer.concat(chunks);
    if (request.method === 'PUT' && request.headers['opc-multipart'] === 'true' && options.inParts) {
      parts.clear();
      return response.end(JSON.stringify({ accessUri: `/p/parts/u${path}/id/1/` }));
    }
    const [, part] = /\/id\/1\/(\d+)$/.exec(path) ?? [];
    if (request.method === 'PUT' && part !== undefined) parts.set(Number(part), body);
    else if (request.method === 'PUT') files.set(path, body);
    else if (request.method === 'POST') {
      const inOrder = [...parts].sort(([a], [b]) => a - b).map(([, bytes]) => bytes);
      files.set(path.replace(/^\/p\/parts\/u(.*)\/id\/1\/$/, '$1'), Buffer.concat(inOrder));
    } else return answerFile(request, response, options.mayRead === true ? files.get(path) : undefined);
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests, files };
}

function answerFile(request: http.IncomingMessage, response: http.ServerResponse, file?: Buffer): void {
  if (file === undefined) {
    response.writeHead(404).end();
    return;
  }
  response.setHeader('etag', '"1"');
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
  const part = from === undefined ? file : file.subarray(Number(from), Number(to) + 1);
  const headers = { 'content-length': part.length };
  if (from === undefined) response.writeHead(200, headers);
  else {
    const range = `bytes ${from}-${Number(from) + part.length - 1}/${file.length}`;
    response.writeHead(206, { ...headers, 'content-range': range });
  }
  response.end(request.method === 'HEAD' ? undefined : part);
}
