import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { thaw, whileFrozen } from './agent.ts';
import { isAnswered } from './sockets.ts';

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-ga-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** What a guest would answer whose file systems can be frozen, as qga/qapi-schema.json of QEMU has it. */
async function guest(t: TestContext, refused: readonly string[] = []) {
  const socketPath = join(await temporaryFolder(t), 'agent');
  const heard: string[] = [];
  const server = createServer((socket) => {
    socket.setEncoding('latin1');
    socket.on('error', () => {});
    socket.on('data', (text: string) => {
      for (const line of text.split('\n').filter((part) => part !== '')) {
        const { execute, arguments: args } = JSON.parse(line.replace('\u00ff', ''));
        if (execute === 'guest-sync-delimited') {
          // The rest of an answer that nobody read, and then ours.
          socket.write(`urn": 3}\n\u00ff{"return": ${args.id}}\n`, 'latin1');
          continue;
        }
        heard.push(execute);
        const error = { class: 'GenericError', desc: `${execute} has been disabled` };
        socket.write(`${JSON.stringify(refused.includes(execute) ? { error } : { return: 1 })}\n`);
      }
    });
  });
  await new Promise<void>((done) => server.listen(socketPath, done));
  t.after(() => server.close());
  return { socketPath, heard };
}

test('a guest is frozen while the task runs, and thaws when it has ended or failed', async (t) => {
  const { socketPath, heard } = await guest(t);
  const frozen = await whileFrozen(socketPath, async () => {
    heard.push('task');
    return 7;
  });
  assert.deepEqual(frozen, { value: 7, isFrozen: true });
  assert.deepEqual(heard, ['guest-fsfreeze-freeze', 'task', 'guest-fsfreeze-thaw']);
  heard.length = 0;
  const fails = whileFrozen(socketPath, () => Promise.reject(new Error('no')));
  await assert.rejects(fails, { message: 'no' });
  assert.deepEqual(heard, ['guest-fsfreeze-freeze', 'guest-fsfreeze-thaw']);
});

test('a guest that does not freeze is thawed all the same, and the task is not run', async (t) => {
  const { socketPath, heard } = await guest(t, ['guest-fsfreeze-freeze']);
  assert.equal(await whileFrozen(socketPath, () => assert.fail()), undefined);
  assert.deepEqual(heard, ['guest-fsfreeze-freeze', 'guest-fsfreeze-thaw']);
});

test('a socket with nobody behind it is a guest without an agent', async (t) => {
  const socketPath = join(await temporaryFolder(t), 'none');
  assert.equal(await whileFrozen(socketPath, () => assert.fail()), undefined);
});

test("QEMU's own agent is understood, which may freeze nothing here", async (t) => {
  const folder = await temporaryFolder(t);
  const socketPath = join(folder, 'agent');
  // This host's own file systems are never touched.
  const blocked = 'guest-fsfreeze-freeze,guest-fsfreeze-freeze-list,guest-fsfreeze-thaw';
  const args = [
    '-m',
    'unix-listen',
    '-p',
    socketPath,
    '-t',
    folder,
    '-f',
    join(folder, 'pid'),
    '-b',
    blocked,
  ];
  const agent = spawn('qemu-ga', args, { stdio: 'ignore' });
  t.after(async () => {
    agent.kill();
    await once(agent, 'exit');
  });
  while (!(await isAnswered(socketPath))) await delay(20);
  assert.equal(await whileFrozen(socketPath, () => assert.fail()), undefined);
  await thaw(socketPath);
});
