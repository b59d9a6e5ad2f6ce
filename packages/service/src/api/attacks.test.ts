import assert from 'node:assert/strict';
import type http from 'node:http';
import { test } from 'node:test';
import { type FastifyPluginAsync, fastify, type RouteOptions } from 'fastify';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import { makeKeyPair } from '../auth/oci/oci-client.testkit.ts';
import { ociComputeRoutes } from './oci/compute/compute.ts';
import { ociIdentityRoutes } from './oci/identity.ts';
import { objectStorageRoutes } from './oci/object-storage/routes.ts';
import { openParRoutes } from './oci/pars.ts';
import { type Answer, besiege, furnish, MARK, SECRET, type Siege } from './siege.testkit.ts';

const READS = ['GET', 'HEAD'];

interface Route {
  readonly method: string;
  /** Of Fastify, below the dialect's root. */
  readonly path: string;
}

/** Every route that plugins add, as the router has it. */
async function routesOf(...plugins: readonly FastifyPluginAsync[]): Promise<Route[]> {
  const app = fastify();
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  const found: Route[] = [];
  app.addHook('onRoute', ({ method, url }: RouteOptions) => {
    for (const each of [method].flat()) found.push({ method: each, path: url });
  });
  for (const plugin of plugins) await app.register(plugin);
  await app.ready();
  return found;
}

// Routes take what they work with when a request comes: to be listed they need none of it.
const noParts = { region: { name: 'local', peers: new Map() } } as never;
const signedRoutes = await routesOf(
  ociComputeRoutes(noParts),
  ociIdentityRoutes(noParts),
  objectStorageRoutes(noParts),
);
const openRoutes = await routesOf(openParRoutes(noParts) as FastifyPluginAsync);

/** The route as a request for what is the victim's, and everything that a body could say of it. */
function aimed({ names }: Siege, { method, path }: Route): { target: string; body: string | undefined } {
  const own: Record<string, string> = {
    ...names,
    shape: 'VM.Standard.E4.Flex',
    namespace: path.startsWith('/20160918') ? (names.tagNamespace ?? '') : (names.namespace ?? ''),
    // Object storage has work requests of its own; either kind is asked for one that is not its.
    '*': encodeURIComponent(names.object ?? ''),
    token: 'x'.repeat(43),
    // None can be made where nothing runs: one of an id that nobody has.
    history: `ocid1.consolehistory.oc1.local.${'0'.repeat(32)}`,
    ...(path.startsWith('/20160918/volume') && {
      volume: names.blockVolume ?? '',
      attachment: names.blockAttachment ?? '',
    }),
    schema: (path.includes('Global') ? names.globalSchema : names.schema) ?? '',
    version: names.schemaVersion ?? '',
  };
  const filled = path.replaceAll(
    /:(\w+)(?:\([^/]+\))?|\*/g,
    (_all, name = '*') => own[name] ?? assert.fail(`${path}: ${name}`),
  );
  const query = new URLSearchParams({
    compartmentId: names.tenancy ?? '',
    availabilityDomain: names.domain ?? '',
    ...(path.includes('/u/') ? { uploadId: names.uploadId ?? '', uploadPartNum: '1' } : {}),
    ...(path.endsWith('/instances/:instance') ? { action: 'STOP' } : {}),
  });
  const isBytes = method === 'PUT' && path.endsWith('/*');
  const withBody = ['POST', 'PUT'].includes(method);
  return {
    target: `${filled}?${query}`,
    body: isBytes ? 'stolen' : withBody ? JSON.stringify(everything(names)) : undefined,
  };
}

/** A body with every field that some route reads, aimed at the victim. */
function everything(names: Readonly<Record<string, string>>): object {
  const place = { namespaceName: names.namespace, bucketName: names.bucket };
  return {
    compartmentId: names.tenancy,
    targetCompartmentId: names.compartment,
    name: 'stolen',
    description: 'stolen',
    displayName: 'stolen',
    key: makePublicKey,
    object: 'stolen',
    objectName: 'stolen',
    ...place,
    imageId: names.image,
    instanceId: names.instance,
    destinationType: 'objectStorageTuple',
    exportFormat: 'QCOW2',
    availabilityDomain: names.domain,
    type: 'paravirtualized',
    volumeId: names.blockVolume,
    shape: 'VM.Standard.E4.Flex',
    sourceDetails: { sourceType: 'bootVolume', bootVolumeId: names.volume },
    sourceName: names.object,
    newName: 'stolen',
    sourceObjectName: names.object,
    destinationRegion: 'local',
    destinationNamespace: names.namespace,
    destinationBucket: names.bucket,
    destinationObjectName: 'stolen',
    accessType: 'AnyObjectReadWrite',
    timeExpires: new Date(Date.now() + 3_600_000).toISOString(),
    partsToCommit: [{ partNum: 1, etag: 'x' }],
    computeGlobalImageCapabilitySchemaVersionName: 'x',
    schemaData: {},
    freeformTags: { stolen: 'stolen' },
  };
}

const makePublicKey = makeKeyPair().publicKey;

/** Ways to come without being anybody. */
const forgeries: Record<
  string,
  (siege: Siege, method: string, target: string, body: string | undefined) => http.OutgoingHttpHeaders
> = {
  'no signature': () => ({}),
  'a token of the native API': ({ victim }) => ({ authorization: `Bearer ${victim.token}` }),
  'a key that nobody has': (siege, method, target, body) =>
    siege.signed({ ...siege.victim.key, privateKey: makeForeignKey }, method, target, body),
  "another's fingerprint": (siege, method, target, body) =>
    siege.signed({ ...siege.victim.key, keyId: `${siege.victim.key.keyId}0` }, method, target, body),
  'a signature of another path': (siege, method, _target, body) =>
    siege.signed(siege.victim.key, method, '/oci/20160918/regions', body),
  'a signature of another method': (siege, method, target, body) =>
    siege.signed(siege.victim.key, method === 'GET' ? 'POST' : 'GET', target, body),
  'a signature of an hour ago': (siege, method, target, body) =>
    siege.signed(siege.victim.key, method, target, body, Date.now() - 3_600_000),
};
const makeForeignKey = makeKeyPair().privateKey;

/** Asserts that nothing of this told a stranger anything or changed anything. */
async function requireNothing(siege: Siege, attack: () => Promise<{ what: string; answer: Answer }[]>) {
  const before = siege.catalogue();
  for (const { what, answer } of await attack()) {
    // What was asked for may be named in the refusal: who asked knew it.
    const said = Object.values(siege.names).reduce((text, name) => text.replaceAll(name, ''), answer.text);
    assert.ok(!said.includes(MARK), `${what} told: ${answer.status} ${answer.text}`);
    assert.ok(answer.status < 500 || answer.status === 501, `${what}: ${answer.status} ${answer.text}`);
  }
  assert.deepEqual(siege.catalogue(), before);
}

test("no route lets a stranger see or change what is another's", async (t) => {
  const siege = await besiege(t);
  await furnish(siege);
  const evil = await siege.json(siege.victim, 'POST', '/tenancies', { name: 'evil' });
  const foreigner = await siege.withKey(evil.token);
  const nobody = await siege.withKey(
    (await siege.json(siege.victim, 'POST', '/users', { name: 'nobody' })).token,
  );

  await t.test('without a good signature', () =>
    requireNothing(siege, async () => {
      const answers: { what: string; answer: Answer }[] = [];
      for (const route of signedRoutes) {
        const { target, body } = aimed(siege, route);
        for (const [how, forge] of Object.entries(forgeries)) {
          const what = `${route.method} ${route.path} with ${how}`;
          const headers = forge(siege, route.method, `/oci${target}`, body);
          const answer = await siege.send(route.method, `/oci${target}`, headers, body);
          assert.equal(answer.status, 401, `${what}: ${answer.text}`);
          answers.push({ what, answer });
        }
      }
      return answers;
    }),
  );

  await t.test('with a token of a pre-authenticated request that is for something else', () =>
    requireNothing(siege, async () => {
      const { accessUri = '', namespace, bucket, uploadId } = siege.names;
      const token = accessUri.split('/')[2] ?? '';
      const answers: { what: string; answer: Answer }[] = [];
      const objects = [
        'disk.raw',
        `${MARK}%2Fplan.txt%2F..%2F..%2Fdisk.raw`,
        '',
        '..%2F',
        `${MARK}%2Fplan.txt0`,
      ];
      for (const { method, path } of openRoutes) {
        for (const held of ['x'.repeat(token.length), `${token}0`, token.slice(1), '..', token]) {
          const inBucket = path.includes('/u/') ? [`${MARK}%2Fplan.txt/id/${uploadId}/1`] : objects;
          for (const object of inBucket) {
            const target = `/oci/p/${held}/n/${namespace}/b/${bucket}/${path.includes('/u/') ? 'u' : 'o'}/${object}`;
            const body = ['PUT', 'POST'].includes(method) ? 'stolen' : undefined;
            const length = body === undefined ? {} : { 'content-length': body.length };
            const answer = await siege.send(method, target, length, body);
            const what = `${method} ${target.replace(token, 'TOKEN')}`;
            assert.equal(answer.status, 404, `${what}: ${answer.status} ${answer.text}`);
            answers.push({ what, answer });
          }
        }
      }
      return answers;
    }),
  );

  for (const [who, user] of Object.entries({
    'the administrator of another tenancy': foreigner,
    'a member without a grant': nobody,
  })) {
    await t.test(`as ${who}`, () =>
      requireNothing(siege, async () => {
        const answers: { what: string; answer: Answer }[] = [];
        for (const route of signedRoutes) {
          const { target, body } = aimed(siege, route);
          const what = `${route.method} ${route.path} as ${who}`;
          const answer = await siege.oci(user, route.method, target, body);
          assert.notEqual(answer.status, 401, what);
          if (!READS.includes(route.method))
            assert.ok(answer.status >= 400, `${what}: ${answer.status} ${answer.text}`);
          answers.push({ what, answer });
        }
        return answers;
      }),
    );
  }

  await t.test('on the native API, whoever asks', () =>
    requireNothing(siege, async () => {
      const { paths } = await siege.json(siege.victim, 'GET', '/openapi.json');
      const native = await nativeNames(siege);
      const answers: { what: string; answer: Answer }[] = [];
      for (const [path, methods] of Object.entries<object>(paths)) {
        if (!path.startsWith('/api/v1/')) continue;
        for (const method of Object.keys(methods).map((each) => each.toUpperCase())) {
          const filled = path
            .slice('/api/v1'.length)
            .replaceAll(/\{(\w+)\}/g, (_all, name) => native[name] ?? 'x');
          const body = ['POST', 'PUT', 'PATCH'].includes(method)
            ? JSON.stringify(everything(siege.names))
            : undefined;
          const what = `${method} ${path}`;
          const unknown = await siege.native({ token: 'gantry_x' }, method, filled, body);
          assert.equal(unknown.status, 401, `${what} without a token: ${unknown.text}`);
          for (const user of MAKES_OWN.has(what) ? [nobody] : [foreigner, nobody]) {
            const answer = await siege.native(user, method, filled, body);
            if (!READS.includes(method))
              assert.ok(answer.status >= 400, `${what}: ${answer.status} ${answer.text}`);
            answers.push({ what, answer });
          }
        }
      }
      return answers;
    }),
  );

  await t.test('as a websocket, with whatever token or ticket', () =>
    requireNothing(siege, async () => {
      const { instanceId = '' } = await nativeNames(siege);
      const open = (kind: string, query: string, token?: string) =>
        siege.send('GET', `/api/v1/instances/${instanceId}/${kind}${query}`, {
          connection: 'Upgrade',
          upgrade: 'websocket',
          'sec-websocket-version': '13',
          'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
        });
      const answers: { what: string; answer: Answer }[] = [];
      const statusOf = async (what: string, status: number, opening: Promise<Answer>) => {
        const answer = await opening;
        assert.equal(answer.status, status, `${what}: ${answer.text}`);
        answers.push({ what, answer });
      };
      for (const kind of ['screen', 'console']) {
        await statusOf(`${kind} without a token`, 401, open(kind, ''));
        await statusOf(`${kind} with a token that nobody has`, 401, open(kind, '', 'gantry_x'));
        await statusOf(`${kind} with a ticket that nobody has`, 401, open(kind, `?ticket=${'x'.repeat(43)}`));
        for (const { token } of [foreigner, nobody])
          await statusOf(`${kind} of another`, 404, open(kind, '', token));
        const path = `/instances/${instanceId}/screen-tickets`;
        const ticket = async () => (await siege.json(siege.victim, 'POST', path, { kind })).ticket;
        const once = await ticket();
        // Good tickets and tokens come as far as to the hypervisor that is not there.
        await statusOf(`${kind} with a ticket`, 409, open(kind, `?ticket=${once}`));
        await statusOf(`${kind} with a used ticket`, 401, open(kind, `?ticket=${once}`));
        const other = kind === 'screen' ? 'console' : 'screen';
        await statusOf('a ticket of the other kind', 401, open(other, `?ticket=${await ticket()}`));
        await statusOf(`${kind} of the owner`, 409, open(kind, '', siege.victim.token));
      }
      return answers;
    }),
  );

  await t.test('while their owner reads all of it', async () => {
    for (const route of signedRoutes.filter(
      ({ method, path }) => method === 'GET' && !NOT_THERE.has(path) && !path.includes('('),
    )) {
      const { target } = aimed(siege, route);
      const answer = await siege.oci(siege.victim, 'GET', target);
      assert.ok(answer.status < 300, `${route.path}: ${answer.status} ${answer.text}`);
    }
    const object = await siege.send('GET', `/oci${siege.names.accessUri}`, {});
    assert.deepEqual(object, { status: 200, text: SECRET });
  });
});

/**
 * Nothing runs, so that there are no histories of consoles; object storage's own work requests, and identity's, whose path has a pattern, are
 * other ones than compute's.
 */
const NOT_THERE = new Set([
  '/20160918/instanceConsoleHistories/:history',
  '/20160918/instanceConsoleHistories/:history/data',
  '/20160918/instanceConsoleConnections',
  '/workRequests/:workRequest',
  '/workRequests/:workRequest/errors',
  '/workRequests/:workRequest/logs',
]);
/** What an administrator may do at home, and these requests name nothing of another's. */
const MAKES_OWN = new Set(['POST /api/v1/users', 'POST /api/v1/buckets', 'POST /api/v1/compartments']);

/** Parameters of native paths, as the native API names them. */
async function nativeNames(siege: Siege): Promise<Record<string, string>> {
  const first = async (path: string) => (await siege.json(siege.victim, 'GET', path)).items[0] ?? {};
  const { bucket = '' } = siege.names;
  const { user } = await siege.json(siege.victim, 'GET', '/whoami');
  return {
    bucket,
    key: encodeURIComponent(siege.names.object ?? ''),
    imageId: (await first('/images')).id,
    jobId: (await first('/jobs')).id,
    user: user.id,
    fingerprint: siege.names.fingerprint ?? '',
    compartment: (await first('/compartments')).id,
    instanceId: (await first('/instances')).id,
    volumeId: (await first('/volumes?kind=block')).id,
    format: 'raw',
    parId: siege.names.parId ?? '',
    uploadId: siege.names.uploadId ?? '',
    partNumber: '1',
  };
}
