import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BUCKET, INSTANCE_ID, startCloud } from '../oci-cloud.testkit.ts';
import { connectOci, type OciClients } from './clients.ts';
import { readOciProfile } from './profile.ts';
import { OciRefusal } from './refusal.ts';

const retryPolicy = { attempts: 3, firstPauseMs: 1 };

async function connected(
  configFile: string,
  endpoint: string,
  signal: AbortSignal = new AbortController().signal,
): Promise<OciClients> {
  const profile = await readOciProfile({ profile: 'TEST', file: configFile, environment: {} });
  return connectOci({ profile, endpoint: `${endpoint}/`, signal, retryPolicy });
}

test('what passes is tried again, what does not is told at once, and nothing is written to the console', async (t) => {
  const warn = t.mock.method(console, 'warn');
  const cloud = await startCloud(t);
  const clients = await connected(cloud.configFile, cloud.endpoint);
  const ask = () => clients.call(() => clients.compute.getInstance({ instanceId: INSTANCE_ID }));
  const refuse = (status: number, code: string, times: number) => {
    cloud.requests.length = 0;
    cloud.faults.refuse = { start: 'GET ', status, code, times };
  };
  for (const [status, code] of [
    [503, 'ServiceUnavailable'],
    [429, 'TooManyRequests'],
    [409, 'IncorrectState'],
  ] as const) {
    refuse(status, code, 2);
    assert.equal((await ask()).instance.id, INSTANCE_ID);
    assert.equal(cloud.requests.length, 3);
  }
  for (const [status, code, expected] of [
    [401, 'NotAuthenticated', 'STORE_DENIED'],
    [404, 'NotAuthorizedOrNotFound', 'STORE_NOT_FOUND'],
    [400, 'LimitExceeded', 'STORE_FULL'],
    [400, 'QuotaExceeded', 'STORE_FULL'],
    [400, 'InvalidParameter', 'STORE_REFUSED'],
    [409, 'NotAuthorizedOrResourceAlreadyExists', 'STORE_EXISTS'],
    [412, 'NoEtagMatch', 'STORE_CHANGED'],
  ] as const) {
    refuse(status, code, 1);
    await assert.rejects(ask(), (error: OciRefusal) => {
      assert.ok(error instanceof OciRefusal);
      assert.equal(error.code, expected);
      assert.equal(error.message, `OCI refused getInstance: ${code} (${status} ${code})`);
      assert.match(error.where, /^GET http:.*, opc-request-id /);
      return true;
    });
    assert.equal(cloud.requests.length, 1);
  }
  refuse(500, 'InternalServerError', 9);
  await assert.rejects(ask(), { code: 'STORE_UNREACHABLE' });
  assert.equal(cloud.requests.length, 3);
  clients.close();
  assert.equal(warn.mock.callCount(), 0);
});

test('an abort ends a call that would be tried again, with its own reason', async (t) => {
  const cloud = await startCloud(t);
  const leaving = new AbortController();
  const clients = await connected(cloud.configFile, cloud.endpoint, leaving.signal);
  cloud.faults.refuse = { start: 'GET ', status: 503, code: 'x', times: 99 };
  const asked = clients.call(() => clients.objects.getBucket({ namespaceName: 'ns', bucketName: BUCKET }));
  leaving.abort(new Error('left'));
  await assert.rejects(asked, { message: 'left' });
  clients.close();
});

test('a service that does not answer is named', async (t) => {
  const { configFile } = await startCloud(t);
  const clients = await connected(configFile, 'http://127.0.0.1:9');
  await assert.rejects(
    clients.call(() => clients.objects.getNamespace({})),
    { code: 'STORE_UNREACHABLE', message: '127.0.0.1:9 does not answer' },
  );
  clients.close();
});

test('without an endpoint the clients are those of the region, also of one that the SDK does not know', async (t) => {
  const { configFile } = await startCloud(t);
  const profile = await readOciProfile({ profile: 'TEST', file: configFile, environment: {} });
  const { signal } = new AbortController();
  const known = await connectOci({ profile, signal, region: 'eu-frankfurt-1' });
  const place = { namespace: 'ns', bucket: 'b c', object: 'dir/a+b.oci' };
  assert.equal(
    known.objectAddress(place),
    'https://objectstorage.eu-frankfurt-1.oraclecloud.com/n/ns/b/b%20c/o/dir%2Fa%2Bb.oci',
  );
  const unknown = await connectOci({ profile, signal, region: 'xx-nowhere-9' });
  assert.equal(new URL(unknown.objectAddress(place)).host, 'objectstorage.xx-nowhere-9.oraclecloud.com');
  known.close();
  unknown.close();
});
