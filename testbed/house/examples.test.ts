import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readProjectFile, root } from './files.ts';

const engine = join(root, 'packages/disk/src/index.ts');

/** The programs of a page by the name that their first line gives them, in the order of the page. */
function examplesOf(page: string): [string, string][] {
  const blocks = [...readProjectFile(page).matchAll(/^```ts\n\/\/ (\S+\.ts)\n([\s\S]*?)^```$/gm)];
  return blocks.map(([, name = '', code = '']) => [
    name,
    code.replace("'@gantry/disk'", JSON.stringify(engine)),
  ]);
}

/** A folder with the image that the pages start from, and the examples as files. */
function exampleFolder(examples: readonly [string, string][]): string {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-examples-'));
  const disk = new Uint8Array(4 * 1024 * 1024);
  disk.fill(0x5a, 1_000_000, 1_100_000);
  writeFileSync(join(folder, 'vm.raw'), disk);
  execFileSync('qemu-img', ['convert', '-O', 'vmdk', 'vm.raw', 'vm.vmdk'], { cwd: folder });
  for (const [name, code] of examples) writeFileSync(join(folder, name), code);
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  const compilerOptions = {
    noEmit: true,
    rewriteRelativeImportExtensions: false,
    typeRoots: [join(root, 'node_modules/@types')],
  };
  const settings = { extends: join(root, 'tsconfig.json'), compilerOptions, include: ['*.ts'] };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(settings));
  return folder;
}

/** Runs a page's examples one after the other; gives what each printed. */
function run(page: string, between: Readonly<Record<string, readonly string[]>> = {}): Map<string, string> {
  const examples = examplesOf(page);
  const blockCount = readProjectFile(page).split('```ts\n').length - 1;
  assert.equal(examples.length, blockCount, `every block of ${page} is a program with a name`);
  const folder = exampleFolder(examples);
  try {
    execFileSync(join(root, 'node_modules/.bin/tsc'), ['-p', '.'], { cwd: folder, encoding: 'utf8' });
    const printed = new Map<string, string>();
    for (const [name] of examples) {
      const [command, ...args] = between[name] ?? [];
      if (command !== undefined) execFileSync(command, args, { cwd: folder });
      printed.set(name, execFileSync(process.execPath, [name], { cwd: folder, encoding: 'utf8' }));
    }
    return printed;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('the examples of the library do what the page says', () => {
  const overlay = [
    'qemu-img',
    'create',
    '-q',
    '-f',
    'qcow2',
    '-b',
    'vm.qcow2',
    '-F',
    'qcow2',
    'overlay.qcow2',
  ];
  const page = 'docs/reference/library.md';
  assert.ok(readProjectFile(page).includes(overlay.filter((word) => word !== '-q').join(' ')));
  const printed = run(page, { 'overlay.ts': overlay });
  assert.match(printed.get('open.ts') ?? '', /^vmdk 4194304 [\s\S]*\n983040 131072 data\n/);
  assert.equal(printed.get('read.ts'), 'has no boot sector\n');
  assert.match(printed.get('convert.ts') ?? '', /\ncompress 4194304 4194304\nwrote \d+ bytes\n$/);
  assert.equal(printed.get('compare.ts'), 'true true\n');
  assert.equal(printed.get('view.ts'), 'vdi true\n');
  assert.equal(printed.get('overlay.ts'), 'vm.qcow2\nIMAGE_REFERENCE\n');
});
