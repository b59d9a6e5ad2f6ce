import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readKeyId } from '../../api/oci/authentication.ts';
import { toOcid } from '../../api/oci/ocid.ts';
import { forEachEngine, type OpenFresh } from '../../db/engines.testkit.ts';
import { makeTenancy, makeUser } from '../../db/repositories/rows.testkit.ts';
import { Access } from '../../domain/access.ts';
import { ApiKeys } from '../../domain/api-keys.ts';
import { Users } from '../../domain/users.ts';
import {
  authorizationOf,
  bodyHeaders,
  makeKeyPair,
  type RequestToSign,
  type TestKey,
} from './oci-client.testkit.ts';
import { requireSignedBody } from './signature.ts';
import { OciSignatures } from './verifier.ts';

const NOW_MS = Date.parse('Sat, 21 Nov 2026 20:00:00 GMT');
const NOW = new Date(NOW_MS).toUTCString();
const pair = makeKeyPair();

/** Names as the SDKs list them, in their order. */
const typescript = ['x-date', '(request-target)', 'host'];
const typescriptBody = [...typescript, 'Content-Type', 'Content-Length', 'x-content-sha256'];
const python = ['date', '(request-target)', 'host'];
const go = ['date', '(request-target)', 'host', 'content-length', 'content-type', 'x-content-sha256'];

interface Service {
  readonly key: TestKey;
  readonly principal: { userId: string; tenancyId: string; role: string };
  /** Verifies a request that is signed like this. */
  verify(
    request: RequestToSign,
    options: { names: readonly string[]; withBody?: boolean; key?: TestKey; authorization?: string },
  ): Promise<unknown>;
}

async function setUp(open: OpenFresh): Promise<Service> {
  const database = await open();
  const user = await makeUser(database.kysely, (await makeTenancy(database.kysely)).id);
  const principal = { userId: user.id, tenancyId: user.tenancy_id, role: user.role };
  const keys = new ApiKeys(database, new Users(database, new Access(database)));
  const { fingerprint } = await keys.upload(principal, user.id, pair.publicKey);
  const tenancy = toOcid('tenancy', '', user.tenancy_id);
  const own = { keyId: `${tenancy}/${toOcid('user', '', user.id)}/${fingerprint}`, ...pair };
  const signatures = new OciSignatures(database.kysely, readKeyId, { now: () => NOW_MS });
  return {
    key: own,
    principal,
    verify(request, { names, withBody = false, key = own, authorization }) {
      const headers = {
        ...request.headers,
        authorization: authorization ?? authorizationOf(key, request, names),
      };
      return signatures.signerOf({ ...request, headers }, { withBody });
    },
  };
}

const get: RequestToSign = {
  method: 'GET',
  target: '/oci/20160918/images?compartmentId=ocid1.x&displayName=a%20b+c',
  headers: { host: 'gantry.example:7080', date: NOW, 'x-date': NOW },
};
const body = '{"displayName":"x"}';
const post: RequestToSign = {
  method: 'POST',
  target: '/oci/20160918/images',
  headers: { ...get.headers, ...bodyHeaders(body) },
};

forEachEngine('requests are verified as the SDKs of TypeScript, Python and Go sign them', async (open) => {
  const { principal, verify, key } = await setUp(open);
  assert.deepEqual(await verify(get, { names: typescript }), principal);
  assert.deepEqual(await verify(get, { names: python }), principal);
  assert.deepEqual(await verify(post, { names: typescriptBody, withBody: true }), principal);
  assert.deepEqual(await verify(post, { names: go, withBody: true }), principal);
  assert.deepEqual(await verify(post, { names: [...go].reverse(), withBody: true }), principal);
  const more = { ...get, headers: { ...get.headers, 'opc-request-id': 'A/b' } };
  assert.deepEqual(await verify(more, { names: ['opc-request-id', ...python] }), principal);
  // Parameters in any order, with spaces, and the version left out.
  const authorization = authorizationOf(key, get, python)
    .replace(',version="1"', '')
    .replace('Signature ', 'signature  ')
    .replaceAll('",', '" , ');
  assert.deepEqual(await verify(get, { names: python, authorization }), principal);
});

forEachEngine('a query beyond ASCII verifies as it was sent and as it was typed', async (open) => {
  const { principal, verify, key } = await setUp(open);
  const sent = { ...get, target: '/oci/x%C3%A9?displayName=caf%C3%A9%20%FF' };
  assert.deepEqual(await verify(sent, { names: typescript }), principal);
  const signedAs = (target: string) => authorizationOf(key, { ...sent, target }, typescript);
  // Bytes that are no UTF-8 stay as they are; so does the path.
  const typed = signedAs('/oci/x%C3%A9?displayName=café%20%FF');
  assert.deepEqual(await verify(sent, { names: typescript, authorization: typed }), principal);
  const path = signedAs('/oci/xé?displayName=café%20%FF');
  await assert.rejects(verify(sent, { names: typescript, authorization: path }), {
    name: 'SignatureRefused',
  });
});

forEachEngine('a request that is not what was signed is refused', async (open) => {
  const { verify, key } = await setUp(open);
  const authorization = authorizationOf(key, post, go);
  const tampered: RequestToSign[] = [
    { ...post, method: 'PUT' },
    { ...post, target: '/oci/20160918/instances' },
    { ...post, target: `${post.target}?x=1` },
    ...Object.entries({
      host: 'other.example',
      date: new Date(NOW_MS + 1000).toUTCString(),
      'content-type': 'text/plain',
      'content-length': '3',
      ...{ 'x-content-sha256': bodyHeaders('{}')['x-content-sha256'] ?? '' },
    }).map(([name, value]) => ({ ...post, headers: { ...post.headers, [name]: value } })),
  ];
  assert.ok(await verify(post, { names: go, withBody: true, authorization }));
  for (const request of tampered) {
    await assert.rejects(
      verify(request, { names: go, withBody: true, authorization }),
      { name: 'SignatureRefused', message: /is not by/ },
      JSON.stringify(request),
    );
  }
});

forEachEngine('what must be signed and is not is refused', async (open) => {
  const { verify } = await setUp(open);
  for (const name of ['(request-target)', 'host', 'date']) {
    const names = python.filter((each) => each !== name);
    await assert.rejects(verify(get, { names }), { message: `${name} is not signed` });
  }
  for (const name of ['content-type', 'content-length', 'x-content-sha256']) {
    const names = go.filter((each) => each !== name);
    await assert.rejects(verify(post, { names, withBody: true }), { message: `${name} is not signed` });
    // What an object is made of is not hashed.
    assert.ok(await verify(post, { names, withBody: false }));
  }
  await assert.rejects(verify(get, { names: [...python, 'opc-x'] }), { message: /opc-x is signed but/ });
  await assert.rejects(verify(get, { names: [...python, 'host'] }), { message: 'a header is listed twice' });
});

forEachEngine('a date counts for five minutes, before and after', async (open) => {
  const { verify } = await setUp(open);
  const at = (name: string, text: string) => ({ ...get, headers: { ...get.headers, [name]: text } });
  for (const skewMs of [-299_000, 299_000]) {
    assert.ok(await verify(at('date', new Date(NOW_MS + skewMs).toUTCString()), { names: python }));
  }
  const refused = [-301_000, 301_000].map((skewMs) => new Date(NOW_MS + skewMs).toUTCString());
  for (const text of [...refused, 'yesterday', '']) {
    await assert.rejects(verify(at('date', text), { names: python }), { message: /within 5 minutes/ });
    await assert.rejects(verify(at('x-date', text), { names: typescript }), { message: /within 5 minutes/ });
  }
  // The one that is signed counts, not the other.
  assert.ok(await verify(at('date', 'yesterday'), { names: typescript }));
});

forEachEngine('only a key of the user that the keyId names verifies', async (open) => {
  const { verify, key } = await setUp(open);
  const other = makeKeyPair();
  await assert.rejects(verify(get, { names: python, key: { ...key, privateKey: other.privateKey } }), {
    message: /is not by/,
  });
  const [tenancy, user, fingerprint] = key.keyId.split('/');
  const unknown = toOcid('user', '', `usr-${'0'.repeat(32)}`);
  for (const keyId of [
    `${tenancy}/${unknown}/${fingerprint}`,
    `${toOcid('tenancy', '', `ten-${'0'.repeat(32)}`)}/${user}/${fingerprint}`,
    `${tenancy}/${user}/${'00:'.repeat(15)}00`,
    `${tenancy}/${user}`,
    `${key.keyId}/x`,
    'x',
  ]) {
    await assert.rejects(verify(get, { names: python, key: { ...key, keyId } }), {
      name: 'SignatureRefused',
    });
  }
  const upper = `${tenancy}/${user}/${fingerprint?.toUpperCase()}`;
  assert.ok(await verify(get, { names: python, key: { ...key, keyId: upper } }));
});

forEachEngine('tokens of sessions and of delegation are refused, and their owner is told', async (open) => {
  const { verify, key } = await setUp(open);
  await assert.rejects(verify(get, { names: python, key: { ...key, keyId: 'ST$eyJh' } }), {
    publicMessage: /Session tokens are not offered/,
  });
  const delegated = { ...get, headers: { ...get.headers, 'opc-obo-token': 'x' } };
  await assert.rejects(verify(delegated, { names: [...python, 'opc-obo-token'] }), {
    publicMessage: /Delegation tokens are not offered/,
  });
});

forEachEngine('an Authorization that cannot be read is refused', async (open) => {
  const { verify, key } = await setUp(open);
  const good = authorizationOf(key, get, python);
  const wrong = [
    '',
    'Bearer gantry_x',
    'Signature ',
    good.replace('rsa-sha256', 'hmac-sha256'),
    good.replace('version="1"', 'version="2"'),
    good.replace(/signature="[^"]*"/, 'signature="?"'),
    good.replace(/keyId="[^"]*",/, ''),
    good.replace(/headers="[^"]*",/, ''),
    `${good},keyId="x"`,
    good.replace('algorithm="rsa-sha256"', 'algorithm=rsa-sha256'),
    good.slice(0, -1),
  ];
  for (const authorization of wrong) {
    await assert.rejects(
      verify(get, { names: python, authorization }),
      { name: 'SignatureRefused' },
      authorization,
    );
  }
});

test('a body is compared with its hash when it is there', () => {
  requireSignedBody(bodyHeaders(body), Buffer.from(body));
  requireSignedBody(bodyHeaders(''), Buffer.alloc(0));
  requireSignedBody({}, Buffer.alloc(0));
  for (const headers of [bodyHeaders('other'), {}]) {
    assert.throws(() => requireSignedBody(headers, Buffer.from(body)), { name: 'SignatureRefused' });
  }
});
