import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as source from '@gantry/disk';
import { root } from './files.ts';

test('@gantry/disk packed, installed in an empty folder, gives every export of its source', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-pack-'));
  const run = (command: string, args: string[], cwd: string) =>
    execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  try {
    const packed = JSON.parse(
      run('npm', ['pack', '--json', '--pack-destination', folder], join(root, 'packages/disk')),
    );
    const files: string[] = packed[0].files.map((file: { path: string }) => file.path);
    assert.ok(files.includes('dist/index.d.ts'));
    assert.deepEqual(
      files.filter((path) => /\.test\.|^src\//.test(path)),
      [],
    );
    writeFileSync(join(folder, 'package.json'), '{ "type": "module", "private": true }');
    run('npm', ['install', '--no-audit', '--no-fund', '--offline', `./${packed[0].filename}`], folder);
    const script = "import * as disk from '@gantry/disk'; console.log(JSON.stringify(Object.keys(disk)));";
    const names: string[] = JSON.parse(run('node', ['--input-type=module', '--eval', script], folder));
    assert.deepEqual(names.sort(), Object.keys(source).sort());
    const types =
      "import { openDisk, denyReferences, type Disk } from '@gantry/disk';\nexport const disk: Promise<Disk> = openDisk({} as never, { references: denyReferences });\n";
    writeFileSync(join(folder, 'use.ts'), types);
    run(
      join(root, 'node_modules/.bin/tsc'),
      ['--noEmit', '--strict', '--module', 'nodenext', '--types', '', 'use.ts'],
      folder,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});
