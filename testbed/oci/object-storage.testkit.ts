import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { TestContext } from 'node:test';
import type { OciError } from 'oci-common';
import { ObjectStorageClient } from 'oci-objectstorage';
import { type OciUser, type ServiceWithOci, startServiceWithOci } from './oci.testkit.ts';

export const NAMESPACE = 'main';
export const BUCKET = 'My_Bucket.1';

export interface ServiceWithBucket extends ServiceWithOci {
  readonly storage: ObjectStorageClient;
  /** The bucket's place, for every request. */
  readonly at: { readonly namespaceName: string; readonly bucketName: string };
  storageOf(user: OciUser): ObjectStorageClient;
}

/** A service with a bucket. */
export async function startWithBucket(
  t: TestContext,
  options: Parameters<typeof startServiceWithOci>[1] = {},
): Promise<ServiceWithBucket> {
  const service = await startServiceWithOci(t, options);
  const storageOf = (user: OciUser): ObjectStorageClient => service.client(ObjectStorageClient, user);
  const storage = storageOf(service.admin);
  await storage.createBucket({
    namespaceName: NAMESPACE,
    createBucketDetails: { name: BUCKET, compartmentId: service.admin.tenancyId },
  });
  const at = { namespaceName: NAMESPACE, bucketName: BUCKET };
  return { ...service, storage, storageOf, at };
}

/** The whole body of an answer of getObject. */
export async function bytesOf({ value }: { value: unknown }): Promise<Buffer> {
  return Buffer.from(await new Response(value as ReadableStream).arrayBuffer());
}

export function hashOf(algorithm: string, bytes: Uint8Array): string {
  return createHash(algorithm).update(bytes).digest('base64');
}

/** Bytes that differ from place to place. */
export function patterned(lengthBytes: number, seed = 1): Buffer<ArrayBuffer> {
  const bytes = Buffer.alloc(lengthBytes);
  for (let at = 0; at < lengthBytes; at++) bytes[at] = (at * seed + (at >> 8)) % 251;
  return bytes;
}

/** The call is refused with this status and code. */
export async function refused(
  call: Promise<unknown>,
  statusCode: number,
  serviceCode: string,
): Promise<string> {
  const error = await call.then(
    () => assert.fail(`not refused with ${statusCode} ${serviceCode}`),
    (reason: OciError) => reason,
  );
  assert.equal(`${error.statusCode} ${error.serviceCode}`, `${statusCode} ${serviceCode}`, error.message);
  return error.message;
}
