import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { models, requests } from 'oci-identity';
import { startServiceWithOci } from './oci.testkit.ts';

test('the SDK finds regions, the tenancy, its availability domain and the user', async (t) => {
  const { identity, admin } = await startServiceWithOci(t, {
    region: 'south',
    peers: ['north=http://north.example:7080'],
  });
  const client = identity();
  const regions = [
    { key: 'SOUTH', name: 'south' },
    { key: 'NORTH', name: 'north' },
  ];
  assert.deepEqual((await client.listRegions({})).items, regions);
  const { tenancyId, userId } = admin;
  const { tenancy } = await client.getTenancy({ tenancyId });
  assert.deepEqual([tenancy.id, tenancy.name, tenancy.homeRegionKey], [tenancyId, 'main', 'SOUTH']);
  const subscriptions = (await client.listRegionSubscriptions({ tenancyId })).items;
  assert.deepEqual(
    subscriptions.map((each) => [each.regionName, each.isHomeRegion, each.status]),
    [
      ['south', true, 'READY'],
      ['north', false, 'READY'],
    ],
  );
  const domains = (await client.listAvailabilityDomains({ compartmentId: tenancyId })).items;
  assert.deepEqual(
    domains.map(({ name }) => name),
    ['south-ad-1'],
  );
  const { user } = await client.getUser({ userId });
  assert.deepEqual([user.id, user.name, user.lifecycleState], [userId, 'admin', 'ACTIVE']);
  await assert.rejects(client.getTenancy({ tenancyId: `${tenancyId.slice(0, -1)}x` }), {
    statusCode: 404,
    serviceCode: 'NotAuthorizedOrNotFound',
  });
});

test('a tree of compartments is made, walked, renamed and taken down', async (t) => {
  const { identity, admin } = await startServiceWithOci(t);
  const client = identity();
  const root = admin.tenancyId;
  const make = async (compartmentId: string, name: string) =>
    (await client.createCompartment({ createCompartmentDetails: { compartmentId, name, description: name } }))
      .compartment;
  const work = await make(root, 'work');
  const test1 = await make(work.id, 'test');
  const home = await make(root, 'home');
  assert.match(work.id, /^ocid1\.compartment\.oc1\.\.[0-9a-f]{32}$/);
  assert.equal(test1.compartmentId, work.id);
  const names = async (query: Partial<requests.ListCompartmentsRequest>) => {
    const found: string[] = [];
    for await (const { name } of client.listCompartmentsRecordIterator({
      compartmentId: root,
      limit: 1,
      ...query,
    })) {
      found.push(name);
    }
    return found;
  };
  assert.deepEqual(await names({}), ['home', 'work']);
  const { SortBy, SortOrder, AccessLevel } = requests.ListCompartmentsRequest;
  assert.deepEqual(
    await names({ compartmentIdInSubtree: true, accessLevel: AccessLevel.Accessible, sortBy: SortBy.Name }),
    ['home', 'test', 'work'],
  );
  assert.deepEqual(await names({ compartmentIdInSubtree: true, sortOrder: SortOrder.Asc }), [
    'work',
    'test',
    'home',
  ]);
  assert.deepEqual(await names({ name: 'work' }), ['work']);
  assert.deepEqual(await names({ compartmentId: home.id }), []);

  await assert.rejects(make(root, 'work'), { statusCode: 409 });
  await assert.rejects(make(root, 'a b'), { statusCode: 400, serviceCode: 'InvalidParameter' });
  const { etag } = await client.getCompartment({ compartmentId: home.id });
  const updateCompartmentDetails = { name: 'house', freeformTags: { who: 'me' } };
  const renamed = await client.updateCompartment({
    compartmentId: home.id,
    updateCompartmentDetails,
    ifMatch: etag,
  });
  assert.deepEqual(renamed.compartment.freeformTags, { who: 'me' });
  await assert.rejects(
    client.updateCompartment({ compartmentId: home.id, updateCompartmentDetails, ifMatch: etag }),
    { statusCode: 412, serviceCode: 'NoEtagMatch' },
  );

  await assert.rejects(client.deleteCompartment({ compartmentId: work.id }), { statusCode: 409 });
  await assert.rejects(client.deleteCompartment({ compartmentId: root }), { statusCode: 409 });
  const { opcWorkRequestId } = await client.deleteCompartment({ compartmentId: test1.id });
  const { workRequest } = await client.getWorkRequest({ workRequestId: opcWorkRequestId });
  assert.equal(workRequest.status, models.WorkRequest.Status.Succeeded);
  assert.ok(workRequest.timeFinished);
  await client.deleteCompartment({ compartmentId: work.id });
  const gone = await client.getCompartment({ compartmentId: work.id });
  assert.equal(gone.compartment.lifecycleState, 'DELETED');
  assert.deepEqual(await names({ lifecycleState: 'DELETED' }), ['work']);
  await make(root, 'work');
});

test('compartments are six levels deep at most', async (t) => {
  const { identity, admin } = await startServiceWithOci(t);
  const client = identity();
  let compartmentId = admin.tenancyId;
  for (let level = 1; level <= 6; level++) {
    const createCompartmentDetails = { compartmentId, name: `level-${level}`, description: '' };
    compartmentId = (await client.createCompartment({ createCompartmentDetails })).compartment.id;
  }
  const createCompartmentDetails = { compartmentId, name: 'level-7', description: '' };
  await assert.rejects(client.createCompartment({ createCompartmentDetails }), { statusCode: 400 });
});

test('a member sees what grants are about, and the way to it', async (t) => {
  const service = await startServiceWithOci(t);
  const root = service.admin.tenancyId;
  const admin = service.identity();
  const member = await service.member('erin');
  const client = service.identity(member);
  const make = async (compartmentId: string, name: string) =>
    (await admin.createCompartment({ createCompartmentDetails: { compartmentId, name, description: '' } }))
      .compartment.id;
  const a = await make(root, 'a');
  const b = await make(a, 'b');
  const c = await make(b, 'c');
  await make(root, 'other');
  const list = async () =>
    (await client.listCompartments({ compartmentId: root, compartmentIdInSubtree: true })).items
      .map(({ name }) => name)
      .sort();
  assert.deepEqual(await list(), []);
  assert.equal((await client.getTenancy({ tenancyId: root })).tenancy.name, 'main');
  await assert.rejects(client.getCompartment({ compartmentId: a }), { statusCode: 404 });
  const ours = (await service.native('/compartments')).items.find(
    (each: { name: string }) => each.name === 'b',
  ).id;
  const json = { verb: 'inspect', resource: 'images', compartmentId: ours };
  const grant = await service.native(`/users/${member.id}/grants`, { json });
  assert.deepEqual(await list(), ['a', 'b', 'c']);
  const details = { compartmentId: b, name: 'd', description: '' };
  await assert.rejects(client.createCompartment({ createCompartmentDetails: details }), {
    statusCode: 404,
    serviceCode: 'NotAuthorizedOrNotFound',
  });
  await service.native(`/users/${member.id}/grants`, {
    json: { ...json, verb: 'manage', resource: 'compartments' },
  });
  await client.createCompartment({ createCompartmentDetails: details });
  await client.deleteCompartment({ compartmentId: c });
  await assert.rejects(client.getUser({ userId: service.admin.userId }), { statusCode: 404 });
  assert.equal((await client.getUser({ userId: member.userId })).user.name, 'erin');
  await service.native(`/users/${member.id}/grants/${grant.id}`, { method: 'DELETE' });
});

test('API keys are uploaded, listed and deleted; what is no proper RSA key is refused', async (t) => {
  const { identity, admin, member } = await startServiceWithOci(t);
  const client = identity();
  const { userId } = admin;
  const upload = (key: string) => client.uploadApiKey({ userId, createApiKeyDetails: { key } });
  const spki = { publicKeyEncoding: { type: 'spki', format: 'pem' } } as const;
  const pkcs8 = { privateKeyEncoding: { type: 'pkcs8', format: 'pem' } } as const;
  const good = generateKeyPairSync('rsa', { modulusLength: 2048, ...spki, ...pkcs8 });
  const { apiKey } = await upload(good.publicKey);
  assert.equal(apiKey.keyId, `${admin.tenancyId}/${userId}/${apiKey.fingerprint}`);
  const refusal = { statusCode: 400, serviceCode: 'InvalidParameter' };
  await assert.rejects(upload(good.publicKey), { statusCode: 409 });
  await assert.rejects(upload(good.privateKey), refusal);
  await assert.rejects(upload('text'), refusal);
  await assert.rejects(upload(good.publicKey.replace(/[A-Z]/g, 'B')), refusal);
  await assert.rejects(
    upload(generateKeyPairSync('rsa', { modulusLength: 1024, ...spki, ...pkcs8 }).publicKey),
    refusal,
  );
  await assert.rejects(upload(generateKeyPairSync('ed25519', { ...spki, ...pkcs8 }).publicKey), refusal);
  const { items } = await client.listApiKeys({ userId });
  assert.deepEqual(
    items.map(({ fingerprint }) => fingerprint),
    [admin.fingerprint, apiKey.fingerprint],
  );
  const fingerprint = apiKey.fingerprint ?? '';
  await client.deleteApiKey({ userId, fingerprint });
  await assert.rejects(client.deleteApiKey({ userId, fingerprint }), { statusCode: 404 });
  const erin = identity(await member('erin'));
  await assert.rejects(erin.listApiKeys({ userId }), { statusCode: 404 });
});

test('tag namespaces define tags, which are retired but never lost', async (t) => {
  const { identity, admin } = await startServiceWithOci(t);
  const client = identity();
  const root = admin.tenancyId;
  const { tagNamespace } = await client.createTagNamespace({
    createTagNamespaceDetails: { compartmentId: root, name: 'Operations', description: 'd' },
  });
  const tagNamespaceId = tagNamespace.id;
  const createTagDetails = {
    name: 'Cost',
    description: 'd',
    validator: { validatorType: 'ENUM', values: ['low', 'high'] },
  };
  const { tag } = await client.createTag({ tagNamespaceId, createTagDetails });
  assert.deepEqual(tag.validator, createTagDetails.validator);
  await client.createTag({ tagNamespaceId, createTagDetails: { name: 'Any', description: 'd' } });
  await assert.rejects(
    client.createTag({ tagNamespaceId, createTagDetails: { name: 'COST', description: 'd' } }),
    { statusCode: 409 },
  );
  assert.deepEqual(
    (await client.listTags({ tagNamespaceId })).items.map(({ name }) => name),
    ['Cost', 'Any'],
  );
  assert.equal((await client.getTag({ tagNamespaceId, tagName: 'cost' })).tag.id, tag.id);
  const { items } = await client.listTagNamespaces({ compartmentId: root, includeSubcompartments: true });
  assert.deepEqual(
    items.map(({ id }) => id),
    [tagNamespaceId],
  );
  assert.equal((await client.getTagNamespace({ tagNamespaceId })).tagNamespace.isRetired, false);

  const details = { compartmentId: root, name: 'tagged', description: '' };
  const make = (name: string, definedTags: Record<string, Record<string, unknown>>) =>
    client.createCompartment({ createCompartmentDetails: { ...details, name, definedTags } });
  const { compartment } = await make('one', { operations: { cost: 'low', Any: 'x' } });
  assert.deepEqual(compartment.definedTags, { operations: { cost: 'low', Any: 'x' } });
  for (const wrong of [
    { Operations: { Cost: 'huge' } },
    { Operations: { Other: 'x' } },
    { Elsewhere: { Cost: 'low' } },
  ]) {
    await assert.rejects(make('two', wrong), { statusCode: 400, serviceCode: 'InvalidParameter' });
  }
  await client.updateTag({ tagNamespaceId, tagName: 'Cost', updateTagDetails: { isRetired: true } });
  await assert.rejects(make('two', { Operations: { Cost: 'low' } }), { statusCode: 400 });
  const kept = await client.updateCompartment({
    compartmentId: compartment.id,
    updateCompartmentDetails: { definedTags: { operations: { cost: 'low' } } },
  });
  assert.deepEqual(kept.compartment.definedTags, { operations: { cost: 'low' } });
  await client.updateTagNamespace({ tagNamespaceId, updateTagNamespaceDetails: { isRetired: true } });
  await assert.rejects(make('two', { Operations: { Any: 'x' } }), { statusCode: 400 });
  await assert.rejects(
    client.createCompartment({
      createCompartmentDetails: {
        ...details,
        freeformTags: Object.fromEntries(Array.from({ length: 11 }, (_, index) => [`k${index}`, 'v'])),
      },
    }),
    { statusCode: 400 },
  );
});
