import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readProjectFile, root } from '../house/files.ts';
import { projectModule } from '../house/pages.ts';

const { bootDisk, descriptorOf } = await projectModule<{
  bootDisk(text: string, then: string): Uint8Array;
  descriptorOf(format: string): string;
}>('packages/cli/src/commands/machine/machine.testkit.ts');

test('the commands of the how-to about machines do what it says', () => {
  const page = readProjectFile('docs/how-to/run-a-machine.md');
  const blocks = [...page.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map(([, block = '']) => block);
  // What takes an image from a service is run by the tests of `machine pack`.
  const commands = blocks
    .filter((block) => !block.includes(' pack '))
    .flatMap((block) => block.trim().split('\n'));
  assert.ok(commands.length >= 6, `${commands.length} commands`);
  const folder = mkdtempSync(join(tmpdir(), 'gantry-how-to-'));
  try {
    writeFileSync(join(folder, 'vm.xml'), descriptorOf('raw'));
    writeFileSync(join(folder, 'root.raw'), bootDisk('ready', 'off'));
    const gantry = `${process.execPath} --conditions=source ${join(root, 'packages/cli/bin/gantry.cjs')}`;
    for (const command of commands) {
      // A pretended host, which runs what is for QEMU under its own type of domain.
      const line = command.startsWith('virsh')
        ? `sed -i 's/type="\\(kvm\\|qemu\\)"/type="test"/; /<driver/d' domain.xml && ${command.replace('virsh', 'virsh -c test:///default')}`
        : command.replace('gantry', gantry);
      const isMovedBack = command.includes(' convert ');
      if (isMovedBack) execFileSync('sed', ['-i', `s,${folder}/,,`, join(folder, 'domain.xml')]);
      const printed = execFileSync('sh', ['-c', line], { cwd: folder, encoding: 'utf8', stdio: 'pipe' });
      if (command.includes(' run ')) assert.equal(printed, 'ready');
    }
    assert.ok(existsSync(join(folder, 'back.xml')));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
