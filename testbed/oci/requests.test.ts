import assert from 'node:assert/strict';
import { createHash, sign } from 'node:crypto';
import http from 'node:http';
import { test } from 'node:test';
import { IdentityClient } from 'oci-identity';
import { type OciUser, type ServiceWithOci, startServiceWithOci } from './oci.testkit.ts';

interface Sent {
  readonly method?: string;
  readonly path: string;
  readonly body?: string;
  /** What is signed instead of the body that is sent; null for nothing. */
  readonly signedBody?: string | null | undefined;
  readonly headers?: Record<string, string>;
  readonly user?: OciUser;
}

/** Sends a request that is signed by hand, as Oracle's documentation has it in Bash. */
async function send(
  { running, admin }: ServiceWithOci,
  { method = 'GET', path, body, signedBody = body, headers = {}, user = admin }: Sent,
): Promise<{ status: number; body: { code?: string; message?: string }; headers: http.IncomingHttpHeaders }> {
  const endpoint = new URL(running.ociEndpoint);
  const target = `${endpoint.pathname.replace(/\/$/, '')}${path}`;
  const all: Record<string, string> = { date: new Date().toUTCString(), host: endpoint.host };
  const names = ['(request-target)', 'date', 'host'];
  if (typeof signedBody === 'string') {
    all['content-type'] = 'application/json';
    all['content-length'] = String(Buffer.byteLength(signedBody));
    all['x-content-sha256'] = createHash('sha256').update(signedBody).digest('base64');
    names.push('content-length', 'content-type', 'x-content-sha256');
  }
  const lines = names.map((name) =>
    name === '(request-target)' ? `${name}: ${method.toLowerCase()} ${target}` : `${name}: ${all[name]}`,
  );
  const signature = sign('sha256', Buffer.from(lines.join('\n')), user.privateKey).toString('base64');
  const keyId = `${user.tenancyId}/${user.userId}/${user.fingerprint}`;
  all.authorization = `Signature version="1",keyId="${keyId}",algorithm="rsa-sha256",headers="${names.join(' ')}",signature="${signature}"`;
  return new Promise((resolve, reject) => {
    const request = http.request(
      { method, host: endpoint.hostname, port: endpoint.port, path: target, headers: { ...all, ...headers } },
      (answer) => {
        let text = '';
        answer.on('data', (chunk) => {
          text += chunk;
        });
        answer.on('end', () =>
          resolve({
            status: answer.statusCode ?? 0,
            body: text === '' ? {} : JSON.parse(text),
            headers: answer.headers,
          }),
        );
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

const compartments = '/20160918/compartments';

test('a request that was signed by hand is answered; changed on its way, it is refused without a reason', async (t) => {
  const service = await startServiceWithOci(t);
  const { tenancyId } = service.admin;
  const path = `${compartments}?compartmentId=${tenancyId}`;
  assert.equal((await send(service, { path })).status, 200);
  const body = (name: string) => JSON.stringify({ compartmentId: tenancyId, name, description: '' });
  const post = { method: 'POST', path: compartments };
  assert.equal((await send(service, { ...post, body: body('one') })).status, 200);
  const refused = {
    code: 'NotAuthenticated',
    message: 'The required information to complete authentication was not provided or was incorrect.',
  };
  for (const sent of [
    { ...post, body: body('two'), signedBody: body('tow') },
    { ...post, body: '', signedBody: body('two'), headers: { 'content-length': '0' } },
    { path, headers: { date: new Date(0).toUTCString() } },
    { path, headers: { host: 'other.example' } },
    { path, headers: { authorization: `Bearer ${service.admin.token}` } },
    { path, headers: { authorization: '' } },
    {
      method: 'DELETE',
      path: `${compartments}/x`,
      body: '{}',
      signedBody: null,
      headers: { 'content-length': '2' },
    },
  ]) {
    const answer = await send(service, sent);
    assert.deepEqual([answer.status, answer.body], [401, refused], JSON.stringify(sent));
  }
  const names = (await service.identity().listCompartments({ compartmentId: tenancyId })).items;
  assert.deepEqual(
    names.map(({ name }) => name),
    ['one'],
  );
});

test('what cannot be read is refused with its code, and the ids of a request come back', async (t) => {
  const service = await startServiceWithOci(t);
  const wrong = await send(service, { method: 'POST', path: compartments, body: '{' });
  assert.deepEqual([wrong.status, wrong.body.code], [400, 'CannotParseRequest']);
  const missing = await send(service, { method: 'POST', path: compartments, body: '{}' });
  assert.deepEqual([missing.status, missing.body.code], [400, 'InvalidParameter']);
  const empty = await send(service, { method: 'POST', path: compartments, body: '' });
  assert.deepEqual([empty.status, empty.body.code], [400, 'InvalidParameter']);
  const unknown = await send(service, { path: '/20160918/nothing', headers: { 'opc-request-id': 'MINE/1' } });
  assert.deepEqual([unknown.status, unknown.body.code], [404, 'NotAuthorizedOrNotFound']);
  assert.match(String(unknown.headers['opc-request-id']), /^MINE\/1\/[0-9a-f-]{36}$/);
  const tenancyPath = `/20160918/tenancies/${service.admin.tenancyId}`;
  assert.equal((await send(service, { path: tenancyPath })).status, 200);
});

test('the SDK asks with letters beyond ASCII in a query', async (t) => {
  const service = await startServiceWithOci(t);
  const { items } = await service
    .identity()
    .listCompartments({ compartmentId: service.admin.tenancyId, name: 'café für 日本' });
  assert.deepEqual(items, []);
});

test('a plus in a query is a space from all clients but the SDK of TypeScript', async (t) => {
  const service = await startServiceWithOci(t, { listen: ['127.0.0.1:0', 'oci=127.0.0.1:0'] });
  const client = service.identity();
  const compartmentId = service.admin.tenancyId;
  const list = async (compartment: string) => {
    const path = `${compartments}?compartmentId=${compartmentId}&name=${compartment}`;
    return (await send(service, { path })).status;
  };
  // Signed as it was sent, whatever becomes of it.
  for (const name of ['a+b', 'a%20b', 'a%2Bb']) assert.equal(await list(name), 200, name);
  const bad = await send(service, { path: `${compartments}?compartmentId=a+b` });
  assert.match(bad.body.message ?? '', /"a b" is no OCID/);
  await assert.rejects(client.listCompartments({ compartmentId: 'a+b' }), /"a\+b" is no OCID/);
});

test('a key that was deleted, and a user that was deleted, sign nothing any more', async (t) => {
  const service = await startServiceWithOci(t);
  const [first, second] = [await service.member('first'), await service.member('second')];
  const path = (user: OciUser) => `/20160918/users/${user.userId}`;
  for (const user of [first, second])
    assert.equal((await send(service, { path: path(user), user })).status, 200);
  await service.native(`/users/${first.id}/api-keys/${first.fingerprint}`, { method: 'DELETE' });
  await service.native(`/users/${second.id}`, { method: 'DELETE' });
  for (const user of [first, second])
    assert.equal((await send(service, { path: path(user), user })).status, 401);
});

test('the dialect answers at the root of a listener of its own, and below /oci all the same', async (t) => {
  const service = await startServiceWithOci(t, { listen: ['127.0.0.1:0', 'oci=127.0.0.1:0'] });
  assert.equal(new URL(service.running.ociEndpoint).pathname, '/');
  const { userId } = service.admin;
  assert.equal((await service.identity().getUser({ userId })).user.id, userId);
  const other = new IdentityClient({ authenticationDetailsProvider: service.admin.provider });
  t.after(() => other.close());
  other.endpoint = `${service.running.address}/oci`;
  assert.equal((await other.getUser({ userId })).user.id, userId);
  const health = await fetch(`${service.running.ociEndpoint}/healthz`);
  assert.equal(health.status, 404);
  const native = await fetch(`${service.running.address}/healthz`);
  assert.equal(native.status, 200);
  // Longer than clients keep theirs: nothing is sent into a connection that was just closed.
  for (const answer of [health, native]) assert.equal(answer.headers.get('keep-alive'), 'timeout=75');
});

test('an operation is done once for a retry token of a user', async (t) => {
  const service = await startServiceWithOci(t);
  const client = service.identity();
  const compartmentId = service.admin.tenancyId;
  const make = (name: string, opcRetryToken: string) =>
    client.createCompartment({
      createCompartmentDetails: { compartmentId, name, description: '' },
      opcRetryToken,
    });
  const first = await make('one', 'token');
  const again = await make('one', 'token');
  assert.deepEqual([again.compartment, again.etag], [first.compartment, first.etag]);
  await assert.rejects(make('two', 'token'), { statusCode: 409, serviceCode: 'InvalidatedRetryToken' });
  await assert.rejects(make('two', 'x'.repeat(65)), { statusCode: 400 });
  // A failed request has used nothing up.
  await assert.rejects(make('one', 'other'), { statusCode: 409 });
  await client.deleteCompartment({ compartmentId: first.compartment.id });
  assert.notEqual((await make('one', 'other')).compartment.id, first.compartment.id);
  // Another operation and another user have tokens of their own.
  await client.createTagNamespace({
    createTagNamespaceDetails: { compartmentId, name: 'n', description: '' },
    opcRetryToken: 'token',
  });
  const erin = await service.member('erin');
  const root = (await service.native('/compartments')).items[0].id;
  const json = { verb: 'manage', resource: 'compartments', compartmentId: root };
  await service.native(`/users/${erin.id}/grants`, { json });
  const createCompartmentDetails = { compartmentId, name: 'hers', description: '' };
  const hers = await service
    .identity(erin)
    .createCompartment({ createCompartmentDetails, opcRetryToken: 'token' });
  assert.equal(hers.compartment.name, 'hers');
});

test('tenancies know nothing of each other, and only the first makes others', async (t) => {
  const service = await startServiceWithOci(t);
  const made = await service.native('/tenancies', { json: { name: 'acme' } });
  assert.equal(made.tenancy.namespace, 'acme');
  const { token } = made;
  await assert.rejects(service.native('/tenancies', { json: { name: 'other' }, token }), /403/);
  await assert.rejects(service.native('/vault/gc', { method: 'POST', token }), /403/);
  await assert.rejects(service.native(`/users/${service.admin.id}`, { token }), /404/);
  await assert.rejects(service.native('/tenancies', { json: { name: 'acme' } }), /409/);
  await assert.rejects(service.native('/tenancies', { json: { name: 'A b' } }), /400/);
  const names = async (asked?: string) =>
    (await service.native('/tenancies', asked === undefined ? {} : { token: asked })).items.map(
      (each: { name: string }) => each.name,
    );
  assert.deepEqual(await names(), ['main', 'acme']);
  assert.deepEqual(await names(token), ['acme']);
  const root = (await service.native('/compartments', { token })).items;
  assert.deepEqual(
    root.map((each: { name: string }) => each.name),
    ['acme'],
  );
  const { user } = await service.native('/users', { json: { name: 'admin2' }, token });
  await assert.rejects(
    service.native(`/users/${user.id}/grants`, {
      json: { verb: 'read', resource: 'all', compartmentId: root[0].id },
    }),
    /404/,
  );
});

test('a member does not become an administrator', async (t) => {
  const service = await startServiceWithOci(t);
  const member = await service.member('erin');
  const { token } = member;
  const root = (await service.native('/compartments')).items[0].id;
  await assert.rejects(service.native('/users', { json: { name: 'x' }, token }), /403/);
  const grants = `/users/${member.id}/grants`;
  await service.native(grants, { json: { verb: 'manage', resource: 'users', compartmentId: root } });
  await service.native('/users', { json: { name: 'x' }, token });
  await assert.rejects(
    service.native('/users', { json: { name: 'y', role: 'administrator' }, token }),
    /403/,
  );
  const publicKeyPem = (await service.native(`/users/${member.id}/api-keys`, { token })).items[0]
    .publicKeyPem;
  await assert.rejects(
    service.native(`/users/${service.admin.id}/api-keys`, { json: { publicKeyPem }, token }),
    /403/,
  );
  await assert.rejects(service.native(`/users/${service.admin.id}`, { method: 'DELETE', token }), /403/);
  await assert.rejects(
    service.native(grants, { json: { verb: 'manage', resource: 'all', compartmentId: root }, token }),
    /403/,
  );
  await assert.rejects(service.native(`/users/${member.id}`, { method: 'DELETE', token }), /409/);
});
