import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { Machinery } from './instances.testkit.ts';
import type { ImageBody } from './service.testkit.ts';

test('an instance starts before its image is copied, is filled meanwhile, stops and starts again', async (t) => {
  const m = await Machinery.start(t);
  const image = await m.image('hello', 'off-by-button');
  const { instance, job } = await m.beginLaunch(image.id, { name: 'web' });
  assert.equal(instance.state, 'PROVISIONING');
  assert.equal(instance.jobId, job.id);
  await m.succeeded(job.id);
  await m.said(instance.id, 'hello');
  await m.filled(instance.id);
  const busy = await m.beginAction(instance.id, 'softstop');
  assert.equal((await m.succeeded(busy.job.id)).result?.end, 'graceful');
  const stopped = await m.instance(instance.id);
  assert.deepEqual([stopped.state, stopped.stateReason], ['STOPPED', 'guest-shutdown']);
  await m.service.json('POST', `/instances/${instance.id}/actions`, 409, { action: 'stop' });
  // The vault is needed no more: what only this image had can be collected.
  await m.service.json('DELETE', `/images/${image.id}`, 204);
  await m.service.runJob('/vault/gc');
  await m.acted(instance.id, 'start');
  await m.said(instance.id, 'hello');
  await m.acted(instance.id, 'reset');
  await m.said(instance.id, 'hello', 2);
  await m.acted(instance.id, 'softreset', { graceSeconds: 60 });
  await m.said(instance.id, 'hello');
  assert.equal((await m.instance(instance.id)).state, 'RUNNING');
  const { job: end } = await m.beginTermination(instance.id);
  await m.succeeded(end.id);
  assert.equal((await m.instance(instance.id)).state, 'TERMINATED');
  assert.deepEqual([m.qemus(), m.volumeFiles()], [[], []]);
});

test('a guest that is killed from outside is told of as crashed; one that switches itself off as stopped', async (t) => {
  const m = await Machinery.start(t);
  const [stays, goes] = [await m.image('stays', 'nothing'), await m.image('goes', 'off')];
  const { id } = await m.launched(stays.id);
  const [pid] = m.qemus();
  process.kill(pid ?? 0, 'SIGKILL');
  const crashed = await m.inState(id, 'STOPPED');
  assert.match(crashed.stateReason ?? '', /^crashed/);
  await m.acted(id, 'start');
  const other = await m.beginLaunch(goes.id);
  await m.succeeded(other.job.id);
  assert.equal((await m.inState(other.instance.id, 'STOPPED')).stateReason, 'guest-shutdown');
  const listed = await m.service.json<{ items: { id: string }[] }>('GET', '/instances?state=RUNNING', 200);
  assert.deepEqual(
    listed.items.map((each) => each.id),
    [id],
  );
});

test('what would take too much, or cannot run here, is refused before anything is made', async (t) => {
  const m = await Machinery.start(t, ['--instance-cpus', '1']);
  const image = await m.image('one', 'nothing');
  const { id } = await m.launched(image.id);
  const refusal = await m.service.json<{ error: { code: string } }>('POST', '/instances', 409, {
    imageId: image.id,
  });
  assert.equal(refusal.error.code, 'QUOTA');
  const arm = { imageId: image.id, shape: 'arm' };
  const { error } = await m.service
    .json<{ error: { code: string } }>('POST', '/instances', 409, arm)
    .catch(() => m.service.json<{ error: { code: string } }>('POST', '/instances', 422, arm));
  assert.match(error.code, /QUOTA|IMAGE_UNSUPPORTED/);
  const { items } = await m.service.json<{ items: object[] }>('GET', '/volumes', 200);
  assert.equal(items.length, 1);
  await m.acted(id, 'stop');
  await m.launched(image.id);
  // Its CPU is taken now.
  await m.service.json('POST', `/instances/${id}/actions`, 409, { action: 'start' });
});

test('images of instances are of one point in time, and only new blocks are stored', async (t) => {
  const m = await Machinery.start(t);
  const image = await m.image('count', 'off-by-button');
  const { id } = await m.launched(image.id);
  await m.said(id, 'count');
  const capture = async (name: string, body: object) => {
    const { job, imageIds } = await m.service.json<{ job: { id: string }; imageIds: string[] }>(
      'POST',
      `/instances/${id}/images`,
      202,
      { name, ...body },
    );
    await m.succeeded(job.id);
    const made = imageIds.map((each) =>
      m.service.json<ImageBody & { consistency: string; captureId: string }>('GET', `/images/${each}`, 200),
    );
    return Promise.all(made);
  };
  const blockCount = async () => Number((await m.service.runJob('/vault/check')).result?.blockCount);
  const blocksOfImage = await blockCount();
  const [running] = await capture('running', {});
  // The guest has changed one sector of its 8 MiB, and nothing since.
  const blocksAfterFirst = await blockCount();
  assert.ok(blocksAfterFirst <= blocksOfImage + 1, `${blocksOfImage} and ${blocksAfterFirst}`);
  await capture('unchanged', {});
  assert.equal(await blockCount(), blocksAfterFirst);
  assert.equal(running?.consistency, 'crash');
  assert.equal(await m.startsOn(running.id), 1);
  assert.equal((await m.instance(id)).state, 'RUNNING');
  const [restarted] = await capture('restarted', { reboot: true });
  assert.equal(restarted?.consistency, 'shutdown');
  assert.equal(await m.startsOn(restarted.id), 1);
  await m.said(id, 'count');
  assert.equal((await m.instance(id)).state, 'RUNNING');
  await m.acted(id, 'softstop', { graceSeconds: 30 });
  const [stopped] = await capture('stopped', {});
  assert.equal(stopped?.consistency, 'shutdown');
  assert.equal(await m.startsOn(stopped.id), 2);
  const again = await m.launched(stopped.id);
  await m.said(again.id, 'count');
  await m.service.requireCleanVault();
});

test('volumes come and go while a guest runs, and are captured with it', async (t) => {
  const m = await Machinery.start(t);
  const image = await m.image('data', 'nothing');
  const { id } = await m.launched(image.id, { materialize: true });
  const volume = await m.service.json<{ id: string }>('POST', '/volumes', 201, {
    sizeBytes: 4 * 1024 * 1024,
  });
  const attach = await m.service.json<{ job: { id: string } }>('POST', `/instances/${id}/volumes`, 202, {
    volumeId: volume.id,
  });
  await m.succeeded(attach.job.id);
  const { volumes } = await m.instance(id);
  assert.deepEqual(
    volumes.map(({ kind, state }) => [kind, state]),
    [
      ['boot', 'attached'],
      ['block', 'attached'],
    ],
  );
  await m.service.json('DELETE', `/volumes/${volume.id}`, 409);
  const { job, imageIds } = await m.service.json<{ job: { id: string }; imageIds: string[] }>(
    'POST',
    `/instances/${id}/images`,
    202,
    { name: 'both', allVolumes: true },
  );
  await m.succeeded(job.id);
  const made = await Promise.all(
    imageIds.map((each) => m.service.json<{ captureId: string }>('GET', `/images/${each}`, 200)),
  );
  assert.equal(made.length, 2);
  assert.equal(made[0]?.captureId, made[1]?.captureId);
  await m.acted(id, 'stop');
  const detach = await m.service.json<{ job: { id: string } }>(
    'DELETE',
    `/instances/${id}/volumes/${volume.id}`,
    202,
  );
  await m.succeeded(detach.job.id);
  await m.service.json('DELETE', `/volumes/${volume.id}`, 204);
  assert.equal(m.volumeFiles().length, 1);
});

test('screens and consoles are websockets for who may use the instance', async (t) => {
  const m = await Machinery.start(t);
  const image = await m.image('seen', 'nothing');
  const { id } = await m.launched(image.id);
  await m.said(id, 'seen');
  const part = await m.service.bytes(`/instances/${id}/serial-log`, { range: 'bytes=1-2' });
  assert.equal(Buffer.from(part).toString(), 'ee');
  const png = await m.service.bytes(`/instances/${id}/screenshot`);
  assert.equal(Buffer.from(png.subarray(1, 4)).toString(), 'PNG');

  const address = m.service.address.replace('http:', 'ws:');
  const ticket = async (kind: string) =>
    (await m.service.json<{ ticket: string }>('POST', `/instances/${id}/screen-tickets`, 201, { kind }))
      .ticket;
  const open = (kind: string, query: string) =>
    new WebSocket(`${address}/api/v1/instances/${id}/${kind}?${query}`, ['binary']);
  const first = await ticket('screen');
  const screen = open('screen', `ticket=${first}`);
  screen.binaryType = 'arraybuffer';
  const greeting = await new Promise<ArrayBuffer>((resolve, reject) => {
    screen.addEventListener('message', ({ data }) => resolve(data as ArrayBuffer), { once: true });
    screen.addEventListener('error', () => reject(new Error('the screen opens')));
  });
  assert.match(Buffer.from(greeting).toString('latin1'), /^RFB 003\.\d{3}\n/);
  assert.equal(screen.protocol, 'binary');
  const failed = (socket: WebSocket) =>
    new Promise<void>((resolve, reject) => {
      socket.addEventListener('error', () => resolve());
      socket.addEventListener('open', () => reject(new Error('it must not open')));
    });
  await failed(open('screen', `ticket=${first}`));
  await failed(open('console', `ticket=${await ticket('screen')}`));
  await failed(open('screen', ''));

  // A page of another place, whatever it has.
  const { hostname, port } = new URL(m.service.address);
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    let text = '';
    socket.on('data', (chunk) => (text += chunk.toString('latin1')));
    socket.on('error', reject);
    socket.on('close', () => resolve(text));
    socket.write(
      [
        `GET /api/v1/instances/${id}/screen HTTP/1.1`,
        `Host: ${hostname}:${port}`,
        `Authorization: Bearer ${m.service.token}`,
        'Origin: http://elsewhere.example',
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
        '\r\n',
      ].join('\r\n'),
    );
  });
  assert.match(answer, /^HTTP\/1\.1 403 /);

  // Who may no longer use the instance sees no more of it.
  const { user, token } = await m.service.json<{ user: { id: string }; token: string }>(
    'POST',
    '/users',
    201,
    {
      name: 'viewer',
      role: 'member',
    },
  );
  const grant = await m.service.json<{ id: string }>('POST', `/users/${user.id}/grants`, 201, {
    verb: 'use',
    resource: 'instances',
    compartmentId: (await m.instance(id)).compartmentId,
  });
  const others = new WebSocket(`${address}/api/v1/instances/${id}/console`, {
    protocols: ['binary'],
    headers: { authorization: `Bearer ${token}` },
  });
  await new Promise((resolve) => others.addEventListener('open', resolve));
  const closed = new Promise<CloseEvent>((resolve) => others.addEventListener('close', resolve));
  await m.service.json('DELETE', `/users/${user.id}/grants/${grant.id}`, 204);
  assert.equal((await closed).code, 1008);

  const console = open('console', `ticket=${await ticket('console')}`);
  await new Promise((resolve) => console.addEventListener('open', resolve));
  const ends = [screen, console].map(
    (socket) => new Promise((resolve) => socket.addEventListener('close', resolve)),
  );
  await m.acted(id, 'stop');
  await Promise.all(ends);
  await m.service.json('GET', `/instances/${id}/screenshot`, 409);
});

test('instances survive the service, which finds them again', async (t) => {
  const m = await Machinery.start(t);
  const image = await m.image('lives', 'off-by-button');
  const { id } = await m.launched(image.id);
  const before = m.qemus();
  await m.service.stop();
  await m.startAgain();
  assert.deepEqual(m.qemus(), before);
  assert.equal((await m.instance(id)).state, 'RUNNING');
  await m.killAndStart();
  assert.deepEqual(m.qemus(), before);
  await m.filled(id);
  await m.service.kill();
  process.kill(before[0] ?? 0, 'SIGKILL');
  await m.startAgain();
  const crashed = await m.inState(id, 'STOPPED');
  assert.match(crashed.stateReason ?? '', /^crashed/);
  const definition = join(m.service.dataFolder, 'machines', id, 'definition.json');
  assert.ok(readFileSync(definition).length > 0);
});
