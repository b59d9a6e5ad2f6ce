import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { makeArchive } from '../archive.testkit.ts';
import { BUCKET, startCloud, type TestCloud } from '../oci-cloud.testkit.ts';
import { type CloudAccount, type CloudTools, RecipeFailed } from './cloud-image.ts';
import { replicateCloudImage } from './replicate.ts';
import { shareCloudImage } from './share.ts';

const MIB = 2 ** 20;
const IMAGE_ID = 'ocid1.image.oc1.test.mine';

async function cloudWithImage(t: TestContext): Promise<TestCloud> {
  const cloud = await startCloud(t);
  await cloud.serve((await makeArchive(cloud.folder, 8 * MIB, MIB)).archive);
  cloud.images.push({ id: IMAGE_ID, displayName: 'my image', lifecycleState: 'AVAILABLE' });
  return cloud;
}

const account = ({ configFile, endpoint }: TestCloud, region?: string): CloudAccount => ({
  profile: 'TEST',
  configFile,
  endpoint,
  region,
});

function tools(signal = new AbortController().signal): CloudTools & { readonly phases: Set<string> } {
  const phases = new Set<string>();
  return { environment: {}, signal, phases, onProgress: ({ phase }) => phases.add(phase) };
}

test('an image goes into another region, and the archives on the way are removed', async (t) => {
  const [source, target] = [await cloudWithImage(t), await cloudWithImage(t)];
  target.images.length = 0;
  source.regions.set('far', target);
  const wish = {
    source: account(source),
    imageId: IMAGE_ID,
    bucket: BUCKET,
    target: account(target, 'far'),
    name: 'replica',
  };
  const used = tools();
  const replica = await replicateCloudImage(wish, used);
  assert.deepEqual([replica.region, replica.name, replica.leftovers], ['far', 'replica', []]);
  assert.deepEqual(
    target.images.map(({ id, displayName }) => [id, displayName]),
    [[replica.imageId, 'replica']],
  );
  assert.equal(source.objects.size + target.objects.size, 0);
  assert.deepEqual([...used.phases], ['export image', 'copy object', 'import image', 'clean up']);
});

test('a replica that fails leaves nothing, and what it cannot remove is listed', async (t) => {
  const [source, target] = [await cloudWithImage(t), await cloudWithImage(t)];
  source.regions.set('far', target);
  const wish = { source: account(source), imageId: IMAGE_ID, bucket: BUCKET, target: account(target, 'far') };
  target.faults.failNextImage = true;
  await assert.rejects(replicateCloudImage(wish, tools()), { code: 'STORE_IO', message: /no room today/ });
  assert.equal(source.objects.size + target.objects.size, 0);
  target.faults.failNextImage = true;
  target.faults.refuse = { start: 'DELETE ', status: 409, code: 'Conflict', times: 9 };
  await assert.rejects(replicateCloudImage(wish, tools()), (error: RecipeFailed) => {
    assert.ok(error instanceof RecipeFailed);
    assert.equal(error.code, 'STORE_IO');
    assert.deepEqual(
      error.leftovers.map(({ kind }) => kind),
      ['image', 'object'],
    );
    return true;
  });
  await assert.rejects(replicateCloudImage({ ...wish, target: account(target, 'nowhere') }, tools()), {
    code: 'STORE_REFUSED',
    message: /copyObject.*InvalidRegion/,
  });
  assert.equal(source.objects.size, 0);
});

test('a shared image is an address to read, until it expires', async (t) => {
  const cloud = await cloudWithImage(t);
  const expiresAt = new Date('2030-01-01T00:00:00Z');
  const wish = { source: account(cloud), imageId: IMAGE_ID, bucket: BUCKET, expiresAt };
  const shared = await shareCloudImage(wish, tools());
  assert.match(shared.object, /^my-image-[0-9a-f]{8}\.oci$/);
  assert.equal(shared.url, `${cloud.endpoint}/p/token/n/ns/b/${BUCKET}/o/${shared.object}`);
  assert.deepEqual([...cloud.objects.keys()], [shared.object]);
  assert.deepEqual(cloud.pars, [
    {
      name: shared.object,
      objectName: shared.object,
      accessType: 'ObjectRead',
      timeExpires: expiresAt.toISOString(),
    },
  ]);
  cloud.faults.refuse = { start: `POST /n/ns/b/${BUCKET}/p`, status: 404, code: 'BucketNotFound', times: 1 };
  await assert.rejects(shareCloudImage(wish, tools()), { code: 'STORE_NOT_FOUND' });
  assert.deepEqual([...cloud.objects.keys()], [shared.object]);
});

test('an image that is not finished is neither shared nor replicated', async (t) => {
  const cloud = await cloudWithImage(t);
  for (const image of cloud.images) image.lifecycleState = 'PROVISIONING';
  const wish = { source: account(cloud), imageId: IMAGE_ID, bucket: BUCKET, expiresAt: new Date() };
  await assert.rejects(shareCloudImage(wish, tools()), {
    code: 'STORE_REFUSED',
    message: 'the image is PROVISIONING',
  });
});
