import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { crc32c } from '@gantry/disk';
import { models, UploadManager } from 'oci-objectstorage';
import {
  BUCKET,
  bytesOf,
  hashOf,
  NAMESPACE,
  patterned,
  refused,
  startWithBucket,
} from './object-storage.testkit.ts';

const crcOf = (bytes: Uint8Array): string => {
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32c(bytes));
  return crc.toString('base64');
};

test('a namespace is the tenancy, and knows where S3 makes buckets', async (t) => {
  const { storage, admin } = await startWithBucket(t);
  assert.equal((await storage.getNamespace({})).value, NAMESPACE);
  const { namespaceMetadata } = await storage.getNamespaceMetadata({ namespaceName: NAMESPACE });
  assert.equal(namespaceMetadata.defaultS3CompartmentId, admin.tenancyId);
  const updated = await storage.updateNamespaceMetadata({
    namespaceName: NAMESPACE,
    updateNamespaceMetadataDetails: { defaultS3CompartmentId: admin.tenancyId },
  });
  assert.equal(updated.namespaceMetadata.namespace, NAMESPACE);
  await refused(storage.getNamespaceMetadata({ namespaceName: 'other' }), 404, 'NamespaceNotFound');
});

test('buckets are made, shown, listed, changed and deleted', async (t) => {
  const { storage, admin, at } = await startWithBucket(t);
  const { bucket, eTag } = await storage.getBucket({
    ...at,
    fields: ['approximateCount', 'approximateSize'] as never,
  });
  assert.equal(bucket.name, BUCKET);
  assert.equal(bucket.etag, eTag);
  assert.equal(bucket.createdBy, admin.userId);
  assert.equal(bucket.compartmentId, admin.tenancyId);
  assert.equal(bucket.publicAccessType, 'NoPublicAccess');
  assert.equal(bucket.approximateCount, 0);
  assert.equal(bucket.approximateSize, 0);
  assert.equal((await storage.headBucket(at)).eTag, eTag);
  const details = { name: BUCKET, compartmentId: admin.tenancyId };
  const again = storage.createBucket({ namespaceName: NAMESPACE, createBucketDetails: details });
  await refused(again, 409, 'BucketAlreadyExists');
  for (const name of ['b', 'c']) {
    const createBucketDetails = { ...details, name, freeformTags: { of: name }, metadata: { a: 'b' } };
    await storage.createBucket({ namespaceName: NAMESPACE, createBucketDetails });
  }
  const list = { namespaceName: NAMESPACE, compartmentId: admin.tenancyId, limit: 2 };
  const first = await storage.listBuckets(list);
  assert.deepEqual(
    first.items.map(({ name }) => name),
    [BUCKET, 'b'],
  );
  const second = await storage.listBuckets({ ...list, page: first.opcNextPage, fields: ['tags'] as never });
  assert.deepEqual(
    second.items.map(({ name, freeformTags }) => [name, freeformTags]),
    [['c', { of: 'c' }]],
  );
  assert.ok(!second.opcNextPage);
  const updateBucketDetails = { name: 'd', metadata: { a: 'c' } };
  const updated = await storage.updateBucket({
    namespaceName: NAMESPACE,
    bucketName: 'c',
    updateBucketDetails,
  });
  assert.equal(updated.bucket.name, 'd');
  assert.deepEqual([updated.bucket.metadata, updated.bucket.freeformTags], [{ a: 'c' }, { of: 'c' }]);
  const stale = { ...at, ifMatch: 'stale', updateBucketDetails: {} };
  await refused(storage.updateBucket(stale), 412, 'IfMatchFailed');
  const toTaken = { ...at, updateBucketDetails: { name: 'b' } };
  await refused(storage.updateBucket(toTaken), 409, 'BucketAlreadyExists');
  await storage.deleteBucket({ namespaceName: NAMESPACE, bucketName: 'd' });
  await refused(storage.getBucket({ namespaceName: NAMESPACE, bucketName: 'd' }), 404, 'BucketNotFound');
});

test('what a bucket cannot do here is refused, not forgotten', async (t) => {
  const { storage, admin, at } = await startWithBucket(t);
  const { PublicAccessType, StorageTier, Versioning } = models.CreateBucketDetails;
  for (const wish of [
    { publicAccessType: PublicAccessType.ObjectRead },
    { storageTier: StorageTier.Archive },
    { versioning: Versioning.Enabled },
    { objectEventsEnabled: true },
    { autoTiering: 'InfrequentAccess' },
    { kmsKeyId: 'ocid1.key.oc1..x' },
  ]) {
    const createBucketDetails = { name: 'wish', compartmentId: admin.tenancyId, ...wish };
    const create = storage.createBucket({ namespaceName: NAMESPACE, createBucketDetails });
    assert.match(await refused(create, 400, 'InvalidParameter'), new RegExp(Object.keys(wish)[0] ?? ''));
  }
  const sse = { opcSseCustomerAlgorithm: 'AES256', opcSseCustomerKey: 'a', opcSseCustomerKeySha256: 'b' };
  const put = storage.putObject({ ...at, objectName: 'o', putObjectBody: 'x', ...sse });
  await refused(put, 400, 'InvalidParameter');
  const archive = { ...at, objectName: 'o', putObjectBody: 'x', storageTier: models.StorageTier.Archive };
  await refused(storage.putObject(archive), 400, 'InvalidParameter');
});

test('an object of any name comes back with all that was said of it', async (t) => {
  const { storage, at } = await startWithBucket(t);
  const content = patterned(100_000);
  for (const objectName of [
    'plain',
    'dir/a b+c.oci',
    'dir%2Fpercent',
    '../..',
    'a/../b',
    'ü/日本/🎉',
    '?#&=;"<>',
    '%',
    '%25%',
    'a//b/',
    '/leading',
    "it's(*)!",
    'x'.repeat(1024),
  ]) {
    const put = await storage.putObject({
      ...at,
      objectName,
      contentLength: content.length,
      putObjectBody: content,
      contentType: 'text/plain',
      contentLanguage: 'pt',
      contentDisposition: 'attachment; filename="x"',
      cacheControl: 'max-age=60',
      opcMeta: { Version: '2', note: 'a b' },
      contentMD5: hashOf('md5', content),
    });
    assert.equal(put.opcContentMd5, hashOf('md5', content), objectName);
    const got = await storage.getObject({ ...at, objectName });
    assert.ok((await bytesOf(got)).equals(content), objectName);
    assert.equal(got.eTag, put.eTag);
    assert.equal(got.contentLength, content.length);
    assert.equal(got.contentMd5, hashOf('md5', content));
    assert.equal(got.contentType, 'text/plain');
    assert.equal(got.contentLanguage, 'pt');
    assert.equal(got.contentDisposition, 'attachment; filename="x"');
    assert.equal(got.cacheControl, 'max-age=60');
    assert.deepEqual({ ...got.opcMeta }, { 'opc-meta-version': '2', 'opc-meta-note': 'a b' });
    assert.equal(got.storageTier, 'Standard');
    assert.equal(got.versionId, put.versionId);
    const head = await storage.headObject({ ...at, objectName });
    assert.equal(head.contentLength, content.length);
    assert.equal(head.eTag, put.eTag);
    await storage.deleteObject({ ...at, objectName });
    await refused(storage.getObject({ ...at, objectName }), 404, 'ObjectNotFound');
  }
});

test('absent buckets, foreign namespaces and objects that may not be seen look alike', async (t) => {
  const service = await startWithBucket(t);
  const { storage, at } = service;
  await storage.putObject({ ...at, objectName: 'o', putObjectBody: 'x' });
  const text = (message: string) => message.replaceAll(/'[^']*'/g, "'…'");
  const member = service.storageOf(await service.member('nobody'));
  const messages = [];
  for (const [client, place] of [
    [storage, { ...at, bucketName: 'absent' }],
    [storage, { ...at, namespaceName: 'foreign' }],
    [member, at],
  ] as const) {
    for (const call of [
      () => client.getBucket(place),
      () => client.listObjects(place),
      () => client.getObject({ ...place, objectName: 'o' }),
      () => client.putObject({ ...place, objectName: 'p', putObjectBody: 'x' }),
      () => client.deleteObject({ ...place, objectName: 'o' }),
      () => client.listMultipartUploads(place),
      () => client.listPreauthenticatedRequests(place),
    ]) {
      messages.push(text(await refused(call(), 404, 'BucketNotFound')));
    }
  }
  assert.equal(new Set(messages).size, 1, messages.join('\n'));
  const head = await storage.headObject({ ...at, objectName: 'absent' }).catch((error) => error);
  assert.equal(head.statusCode, 404);
});

test('conditions, ranges and versions hold', async (t) => {
  const { storage, at } = await startWithBucket(t);
  const place = { ...at, objectName: 'o' };
  const content = patterned(1000);
  const { eTag } = await storage.putObject({ ...place, putObjectBody: content });
  await refused(
    storage.putObject({ ...place, putObjectBody: 'x', ifNoneMatch: '*' }),
    412,
    'IfNoneMatchFailed',
  );
  await refused(storage.putObject({ ...place, putObjectBody: 'x', ifMatch: 'stale' }), 412, 'IfMatchFailed');
  await refused(storage.getObject({ ...place, ifMatch: 'stale' }), 412, 'IfMatchFailed');
  await refused(storage.deleteObject({ ...place, ifMatch: 'stale' }), 412, 'IfMatchFailed');
  const unchanged = await storage.getObject({ ...place, ifNoneMatch: eTag }).catch((error) => error);
  assert.ok(unchanged.isNotModified === true || unchanged.statusCode === 304);
  const ranged = await storage.getObject({
    ...place,
    range: { startByte: 10, endByte: 19, contentLength: undefined } as never,
  });
  assert.deepEqual(await bytesOf(ranged), content.subarray(10, 20));
  const behind = storage.getObject({ ...place, range: { startByte: 1000, endByte: 1001 } as never });
  await refused(behind, 416, 'InvalidRange');
  assert.equal((await storage.getObject({ ...place, versionId: eTag })).eTag, eTag);
  await refused(storage.getObject({ ...place, versionId: 'other' }), 404, 'ObjectNotFound');
  // Fetch adds no-cache to a conditional request: that is no Cache-Control of the object.
  await storage.putObject({ ...place, putObjectBody: 'y', ifMatch: eTag });
  const after = await storage.getObject({ ...place, httpResponseContentType: 'text/x-other' });
  assert.ok(!after.cacheControl);
  assert.equal(after.contentType, 'text/x-other');
  const wrong = storage.putObject({ ...place, putObjectBody: 'z', contentMD5: hashOf('md5', content) });
  await refused(wrong, 400, 'UnmatchedContentMD5');
  assert.equal((await bytesOf(await storage.getObject(place))).toString(), 'y');
});

test('checksums that are sent are compared, and those that are asked for are given', async (t) => {
  const { storage, at } = await startWithBucket(t);
  const content = patterned(5000);
  const sums = {
    opcContentCrc32c: crcOf(content),
    opcContentSha256: hashOf('sha256', content),
    opcContentSha384: hashOf('sha384', content),
  };
  const place = { ...at, objectName: 'o' };
  for (const [name, value] of Object.entries(sums)) {
    await storage.putObject({ ...place, putObjectBody: content, [name]: value });
    const got = await storage.headObject(place);
    assert.equal(got[name as keyof typeof sums], value);
    const broken = storage.putObject({ ...place, putObjectBody: patterned(5000, 3), [name]: value });
    await refused(broken, 400, 'InvalidParameter');
  }
  const opcChecksumAlgorithm = models.ChecksumAlgorithm.Crc32C;
  const asked = await storage.putObject({ ...place, putObjectBody: content, opcChecksumAlgorithm });
  assert.equal(asked.opcContentCrc32c, sums.opcContentCrc32c);
});

test('a bucket is listed like a folder, page by page', async (t) => {
  const { storage, at } = await startWithBucket(t);
  const names = ['a', 'b/1', 'b/2', 'b/c/3', 'd', 'e/4', 'z'];
  for (const objectName of names) await storage.putObject({ ...at, objectName, putObjectBody: objectName });
  const all = (await storage.listObjects(at)).listObjects;
  assert.deepEqual(
    all.objects,
    names.map((name) => ({ name })),
  );
  assert.equal(all.nextStartWith, undefined);
  const folder = (await storage.listObjects({ ...at, delimiter: '/' })).listObjects;
  assert.deepEqual(
    folder.objects.map(({ name }) => name),
    ['a', 'd', 'z'],
  );
  assert.deepEqual(folder.prefixes, ['b/', 'e/']);
  const inside = (await storage.listObjects({ ...at, prefix: 'b/', delimiter: '/' })).listObjects;
  assert.deepEqual([inside.objects.map(({ name }) => name), inside.prefixes], [['b/1', 'b/2'], ['b/c/']]);
  for (const limit of [1, 2, 3]) {
    const seen: string[] = [];
    let start: string | undefined;
    do {
      const request = { ...at, delimiter: '/', limit, ...(start !== undefined && { start }) };
      const page = (await storage.listObjects(request)).listObjects;
      assert.ok(page.objects.length + (page.prefixes ?? []).length <= limit);
      seen.push(...[...page.objects.map(({ name }) => name), ...(page.prefixes ?? [])].toSorted());
      start = page.nextStartWith;
    } while (start !== undefined);
    assert.deepEqual(seen, ['a', 'b/', 'd', 'e/', 'z'], `limit ${limit}`);
  }
  const part = (await storage.listObjects({ ...at, startAfter: 'a', end: 'd' })).listObjects;
  assert.deepEqual(
    part.objects.map(({ name }) => name),
    ['b/1', 'b/2', 'b/c/3'],
  );
  const fields = 'name,size,etag,md5,timeCreated,timeModified,storageTier';
  const [told] = (await storage.listObjects({ ...at, prefix: 'd', fields })).listObjects.objects;
  assert.equal(told?.size, 1);
  assert.equal(told?.md5, hashOf('md5', Buffer.from('d')));
  assert.ok(told?.etag && !Number.isNaN(Date.parse(String(told.timeCreated))));
  await storage.putObject({ ...at, objectName: 'a+b', putObjectBody: 'x' });
  assert.equal((await storage.listObjects({ ...at, prefix: 'a+' })).listObjects.objects.length, 1);
});

test('an object is renamed at once, under conditions', async (t) => {
  const { storage, at } = await startWithBucket(t);
  const { eTag } = await storage.putObject({ ...at, objectName: 'a', putObjectBody: 'one' });
  const other = await storage.putObject({ ...at, objectName: 'b', putObjectBody: 'two' });
  const rename = (details: object) =>
    storage.renameObject({ ...at, renameObjectDetails: { sourceName: 'a', newName: 'b', ...details } });
  await refused(rename({ newObjIfNoneMatchETag: '*' }), 412, 'IfNoneMatchFailed');
  await refused(rename({ srcObjIfMatchETag: 'stale' }), 412, 'IfMatchFailed');
  const renamed = await rename({ srcObjIfMatchETag: eTag, newObjIfMatchETag: other.eTag });
  assert.equal(renamed.eTag, eTag);
  assert.equal((await bytesOf(await storage.getObject({ ...at, objectName: 'b' }))).toString(), 'one');
  await refused(storage.getObject({ ...at, objectName: 'a' }), 404, 'ObjectNotFound');
  await refused(rename({}), 404, 'ObjectNotFound');
});

test('the upload manager sends files and streams in parts, with their MD5s', async (t) => {
  const { storage, at } = await startWithBucket(t);
  const folder = await mkdtemp(join(tmpdir(), 'gantry-oci-upload-'));
  t.after(() => rm(folder, { recursive: true }));
  const content = randomBytes(25 * 1024 * 1024);
  const file = join(folder, 'file');
  await writeFile(file, content);
  for (const [name, source] of [
    ['file', { filePath: file }],
    ['stream', { stream: Readable.from(chunksOf(content)) }],
  ] as const) {
    const manager = new UploadManager(storage, { enforceMD5: true, partSize: 10 * 1024 * 1024 });
    const request = { content: source, requestDetails: { ...at, objectName: name, opcMeta: { of: name } } };
    const { eTag } = await manager.upload(request as never);
    const head = await storage.headObject({ ...at, objectName: name });
    assert.equal(head.eTag, eTag);
    assert.equal(head.contentLength, content.length);
    assert.match(head.opcMultipartMd5, /^[\w+/]{22}==-3$/);
    assert.deepEqual({ ...head.opcMeta }, { 'opc-meta-of': name });
    assert.ok((await bytesOf(await storage.getObject({ ...at, objectName: name }))).equals(content));
  }
  assert.deepEqual((await storage.listMultipartUploads(at)).items, []);
});

test('an upload in parts is listed, committed by its ETags, and joins its checksums', async (t) => {
  const { storage, at } = await startWithBucket(t);
  const objectName = 'dir/big';
  const parts = [patterned(70_000, 2), patterned(50_000, 3), patterned(10, 5)];
  const createMultipartUploadDetails = {
    object: objectName,
    contentType: 'x/y',
    metadata: { 'opc-meta-a': 'b' },
  };
  const opcChecksumAlgorithm = models.ChecksumAlgorithm.Crc32C;
  const begun = await storage.createMultipartUpload({
    ...at,
    createMultipartUploadDetails,
    opcChecksumAlgorithm,
  });
  const { uploadId } = begun.multipartUpload;
  const upload = { ...at, objectName, uploadId };
  const etags: string[] = [];
  for (const [index, uploadPartBody] of parts.entries()) {
    const sent = await storage.uploadPart({ ...upload, uploadPartNum: index + 1, uploadPartBody });
    assert.equal(sent.opcContentMd5, hashOf('md5', uploadPartBody));
    etags.push(sent.eTag);
  }
  assert.equal((await storage.listMultipartUploads(at)).items[0]?.object, objectName);
  const listed = await storage.listMultipartUploadParts({ ...upload, limit: 2 });
  assert.deepEqual(
    listed.items.map(({ partNumber, size }) => [partNumber, size]),
    [
      [1, 70_000],
      [2, 50_000],
    ],
  );
  const rest = await storage.listMultipartUploadParts({ ...upload, page: listed.opcNextPage });
  assert.deepEqual(
    rest.items.map(({ partNumber, md5 }) => [partNumber, md5]),
    [[3, hashOf('md5', parts[2] ?? Buffer.alloc(0))]],
  );
  const commit = (partsToCommit: { partNum: number; etag: string }[]) =>
    storage.commitMultipartUpload({ ...upload, commitMultipartUploadDetails: { partsToCommit } });
  await refused(commit([{ partNum: 1, etag: 'other' }]), 400, 'InvalidUploadPart');
  await refused(commit([]), 400, 'InvalidParameter');
  // In the order in which they were done, as the upload manager lists them.
  const committed = await commit([3, 1, 2].map((partNum) => ({ partNum, etag: etags[partNum - 1] ?? '' })));
  const digests = Buffer.concat(parts.map((part) => Buffer.from(hashOf('md5', part), 'base64')));
  assert.equal(committed.opcMultipartMd5, `${hashOf('md5', digests)}-3`);
  assert.equal(committed.opcContentCrc32c, crcOf(Buffer.concat(parts)));
  const got = await storage.getObject({ ...at, objectName });
  assert.ok((await bytesOf(got)).equals(Buffer.concat(parts)));
  assert.equal(got.contentType, 'x/y');
  assert.deepEqual({ ...got.opcMeta }, { 'opc-meta-a': 'b' });
  assert.equal(got.opcMultipartMd5, committed.opcMultipartMd5);
  const second = await storage.createMultipartUpload({ ...at, createMultipartUploadDetails });
  const other = { ...at, objectName, uploadId: second.multipartUpload.uploadId };
  const outside = storage.uploadPart({ ...other, uploadPartNum: 10_001, uploadPartBody: 'x' });
  await refused(outside, 400, 'InvalidParameter');
  await refused(storage.abortMultipartUpload({ ...other, objectName: 'x' }), 404, 'NotAuthorizedOrNotFound');
  await storage.abortMultipartUpload(other);
  await refused(storage.listMultipartUploadParts(other), 404, 'NotAuthorizedOrNotFound');
});

test('objects of more than 10 MiB keep their connection', async (t) => {
  const { storage, at } = await startWithBucket(t);
  const content = randomBytes(11 * 1024 * 1024);
  for (const objectName of ['one', 'two']) {
    await storage.putObject({ ...at, objectName, contentLength: content.length, putObjectBody: content });
    assert.ok((await bytesOf(await storage.getObject({ ...at, objectName }))).equals(content));
  }
});

async function* chunksOf(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}
