import assert from 'node:assert/strict';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { importedModules, projectFiles } from './files.ts';

/** What each package may import of the others. Nothing imports the testbed. */
const allowedPackages: Record<string, readonly string[]> = {
  'packages/disk/examples': ['@gantry/disk'],
  'packages/disk': [],
  // The engine resolves it at run time, when it is there.
  'packages/native': [],
  'packages/machine': ['@gantry/disk'],
  'packages/storage': ['@gantry/disk'],
  'packages/cloud': ['@gantry/disk', '@gantry/machine', '@gantry/storage'],
  'packages/service': ['@gantry/disk', '@gantry/machine', '@gantry/storage'],
  'packages/cli': ['@gantry/disk', '@gantry/machine', '@gantry/storage', '@gantry/cloud', '@gantry/service'],
  testbed: [
    '@gantry/disk',
    '@gantry/machine',
    '@gantry/storage',
    '@gantry/cloud',
    '@gantry/service',
    '@gantry/cli',
  ],
};

/** Rooms of the service and those of its rooms that they may enter; tests may enter all. */
const allowedRooms: Record<string, readonly string[]> = {
  api: ['api', 'domain', 'auth', 'jobs', 'json.ts'],
  domain: ['domain', 'db', 'jobs', 'vault', 'machines', 'auth', 'json.ts', 'logger.ts'],
  machines: ['machines', 'db', 'vault', 'domain/errors.ts', 'logger.ts'],
  vault: ['vault', 'db', 'domain/errors.ts', 'json.ts'],
  jobs: ['jobs', 'db', 'domain/errors.ts', 'json.ts', 'logger.ts'],
  auth: ['auth', 'db', 'domain/errors.ts', 'json.ts'],
  db: ['db', 'json.ts'],
};

const sources = projectFiles('packages/*.ts', 'testbed/*.ts');
const isTest = (path: string) => /\.(test|testkit)\.ts$/.test(path);

test('there are sources to look at', () => {
  assert.ok(sources.length > 100, `${sources.length} files`);
  assert.ok(importedModules('packages/service/src/db/database.ts').includes('kysely'));
});

test('packages import each other in one direction only', () => {
  const wrong: string[] = [];
  for (const path of sources) {
    const home = Object.keys(allowedPackages).find((folder) => path.startsWith(`${folder}/`));
    assert.ok(home, `${path} belongs to no known package`);
    for (const module of importedModules(path)) {
      if (module.startsWith('@gantry/') && !allowedPackages[home]?.includes(module))
        wrong.push(`${path} imports ${module}`);
      if (module.startsWith('.') && !join(dirname(path), module).startsWith(`${home}/`)) {
        wrong.push(`${path} reaches out of its package to ${module}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

test('the engine has no dependencies, and imports node: modules only in io/node-*.ts', () => {
  const wrong: string[] = [];
  for (const path of sources.filter((source) => source.startsWith('packages/disk/src/') && !isTest(source))) {
    for (const module of importedModules(path)) {
      const ownFile = module.startsWith('./') || module.startsWith('../');
      const nodeAllowed = module.startsWith('node:') && /\/io\/node-[^/]+\.ts$/.test(path);
      if (!ownFile && !nodeAllowed) wrong.push(`${path} imports ${module}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("the service's rooms are entered only from where they may be", () => {
  const home = 'packages/service/src/';
  const wrong: string[] = [];
  for (const path of sources.filter((source) => source.startsWith(home) && !isTest(source))) {
    const room = path.slice(home.length).split('/')[0] ?? '';
    const allowed = allowedRooms[room];
    if (allowed === undefined) continue;
    for (const module of importedModules(path).filter((name) => name.startsWith('.'))) {
      const entered = join(dirname(path), module).slice(home.length);
      const mayEnter = allowed.some((place) => entered === place || entered.startsWith(`${place}/`));
      if (!mayEnter) wrong.push(`${path} imports ${entered}`);
    }
  }
  assert.deepEqual(wrong, []);
});
