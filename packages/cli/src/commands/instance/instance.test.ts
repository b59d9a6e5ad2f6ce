import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { bootDisk } from '../machine/machine.testkit.ts';
import { startService, stopService, type TestService } from '../service.testkit.ts';

let home: string;
let service: TestService;

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'gantry-instance-'));
  service = await startService(home);
  await imported('tug', 'off-by-button');
  await imported('raft', 'nothing');
});

after(async () => {
  await stopService(service);
  await rm(home, { recursive: true });
});

async function imported(name: string, then: Parameters<typeof bootDisk>[1]): Promise<void> {
  const file = join(home, `${name}.raw`);
  await writeFile(file, bootDisk(`${name} is up\n`, then));
  await service.done('image', 'import', file, '--name', name, '--wait');
}

async function json(...args: string[]) {
  return JSON.parse(await service.done(...args, '-o', 'json'));
}

const small = ['--ocpus', '1', '--memory', '1', '--wait'];

test('an instance is launched, stopped by its power button, started, made into an image, and terminated', async () => {
  const launched = await json('instance', 'launch', 'tug', '--name', 'boat', ...small);
  assert.deepEqual([launched.name, launched.state, launched.cpuCount], ['boat', 'RUNNING', 2]);
  assert.match(
    await service.done('instance', 'list', '--state', 'RUNNING'),
    /^ins-\S+ +boat +RUNNING +2 +1 GiB /m,
  );
  const shown = await json('instance', 'show', 'boat');
  assert.deepEqual(
    shown.volumes.map(({ kind }: { kind: string }) => kind),
    ['boot'],
  );
  const captured = await json('image', 'capture', 'boat', '--name', 'boat-now', '--wait');
  assert.equal(captured.images[0].diskDigest, (await json('image', 'show', 'tug')).diskDigest);
  assert.match(await service.done('image', 'show', 'boat-now'), /^captured: \S+ \S+, consistency: crash$/m);

  // It does not end before its guest has heard the button.
  const log = service.start(['instance', 'log', 'boat', '--follow']);
  const stopped = await json('instance', 'stop', 'boat', '--wait');
  assert.deepEqual([stopped.state, stopped.stateReason], ['STOPPED', 'guest-shutdown']);
  assert.deepEqual([(await log.ended).code, (await log.ended).stdout], [0, 'tug is up\n']);
  const again = await service.gantry('instance', 'stop', 'boat');
  assert.equal(again.code, 6);
  assert.match(again.stderr, /^error\[CONFLICT\]: /);

  assert.equal(
    (await json('instance', 'update', 'boat', '--memory', '2', '--name', 'ship')).memoryBytes,
    2 ** 31,
  );
  assert.equal((await json('instance', 'start', 'ship', '--wait')).state, 'RUNNING');
  await service.done('instance', 'terminate', 'ship', '--wait');
  assert.equal((await json('instance', 'show', launched.id)).state, 'TERMINATED');
  assert.equal((await service.gantry('instance', 'show', 'ship')).code, 5);
});

test('a guest that hears nothing is stopped by force, and what it started from can be kept', async () => {
  const { id } = await json('instance', 'launch', 'raft', '--materialize', ...small);
  const [{ volumeId }] = (await json('instance', 'show', id)).volumes;
  assert.equal((await json('volume', 'show', volumeId)).instanceId, id);
  const picture = join(home, 'raft.png');
  await service.done('instance', 'screenshot', 'raft', picture);
  assert.deepEqual([...(await readFile(picture)).subarray(1, 4)], [...Buffer.from('PNG')]);
  assert.equal((await json('instance', 'stop', 'raft', '--grace', '0.1', '--wait')).stateReason, 'forced');
  await json('instance', 'start', 'raft', '--wait');
  assert.equal((await json('instance', 'reset', 'raft', '--force', '--wait')).state, 'RUNNING');
  await service.done('instance', 'stop', 'raft', '--force', '--wait');
  await service.done('instance', 'terminate', 'raft', '--keep-boot-volume', '--wait');
  const kept = await json('volume', 'show', volumeId);
  assert.deepEqual([kept.state, kept.instanceId, kept.isFilled], ['available', null, true]);
  const next = await json('instance', 'launch', '--boot-volume', volumeId, '--name', 'next', ...small);
  assert.equal(next.state, 'RUNNING');
  assert.equal((await service.gantry('volume', 'delete', volumeId)).code, 6);
  await service.done('instance', 'terminate', 'next', '--wait');
});

test('screen and console go through the service, and a volume is attached meanwhile', async () => {
  await json('instance', 'launch', 'raft', '--name', 'seen', ...small);
  const screen = service.start(['instance', 'screen', 'seen', '--port', '0', '-o', 'json']);
  const [port = ''] = /127\.0\.0\.1:(\d+)/.exec(await screen.said(/127\.0\.0\.1:\d+/))?.slice(1) ?? [];
  const viewer = connect(Number(port), '127.0.0.1');
  // Each side begins with its version of the protocol (RFC 6143, 7.1.1).
  const [greeting] = await once(viewer, 'data');
  assert.equal(String(greeting), 'RFB 003.008\n');
  const left = once(viewer, 'close');
  screen.child.kill('SIGINT');
  assert.equal((await screen.ended).code, 0);
  await left;

  const { id: volumeId } = await json('volume', 'create', '--size', '1048576');
  await service.done('instance', 'attach', 'seen', volumeId, '--wait');
  assert.equal(
    (await json('volume', 'show', volumeId)).instanceId,
    (await json('instance', 'show', 'seen')).id,
  );

  const talk = service.start(['instance', 'console', 'seen'], { stdin: 'pipe' });
  await talk.noted(/connected/);
  await service.done('instance', 'reset', 'seen', '--force', '--wait');
  await talk.said(/raft is up/);
  talk.child.stdin?.end();
  assert.equal((await talk.ended).code, 0);
  await service.done('instance', 'stop', 'seen', '--force', '--wait');
  const gone = await service.gantry('instance', 'console', 'seen');
  assert.deepEqual([gone.code, /^error\[(\w+)\]/.exec(gone.stderr)?.[1]], [6, 'CONFLICT']);
  await service.done('instance', 'detach', 'seen', volumeId, '--wait');
  await service.done('instance', 'terminate', 'seen', '--wait');
});

test('what cannot be launched is refused before anything is made', async () => {
  const none = await service.gantry('instance', 'launch');
  assert.equal(none.code, 2);
  assert.equal((await service.gantry('instance', 'launch', 'no-such')).code, 5);
  const large = await service.gantry(
    'instance',
    'launch',
    'tug',
    '--ocpus',
    '64',
    '--memory',
    '1024',
    '--wait',
  );
  assert.equal(large.code, 7);
  assert.match(large.stderr, /^error\[QUOTA/);
  assert.equal((await service.gantry('instance', 'launch', 'tug', '--shape', 'VM.None')).code, 2);
  assert.deepEqual(await json('instance', 'list', '--state', 'RUNNING'), []);
});

test('volumes are made, shown and deleted', async () => {
  const { id, sizeBytes } = await json('volume', 'create', '--name', 'data', '--size', '1073741824');
  assert.equal(sizeBytes, 2 ** 30);
  assert.match(
    await service.done('volume', 'list'),
    new RegExp(`^${id}  data +block +available +1 GiB `, 'm'),
  );
  await service.done('volume', 'delete', id);
  assert.equal((await json('volume', 'show', id)).state, 'deleted');
});
