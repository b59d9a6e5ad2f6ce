import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { testFolder, tool } from '../formats/images.testkit.ts';

const MIB = 2 ** 20;
/** A bare process that has loaded the engine takes about 100 MiB. */
const LIMIT_MIB = 256;

const program = `
const { compareDisks, convert, denyReferences, diskDigest, fileSink, fileSource, openDisk } =
  await import(${JSON.stringify(import.meta.resolve('../index.ts'))});
const [task, sourcePath, otherPath] = process.argv.slice(1);
const open = async (path) => openDisk(await fileSource(path), { format: 'qcow2', references: denyReferences });
const disk = await open(sourcePath);
if (task === 'digest') await diskDigest(disk);
else if (task === 'compare') console.error((await compareDisks(disk, await open(otherPath))).equal);
else await convert(disk, await fileSink(otherPath), { format: 'qcow2', compression: task === 'plain' ? undefined : task });
console.log(process.resourceUsage().maxRSS);
process.exit();
`;

test('a disk of 1 TiB is converted, named and compared in less than 256 MiB of memory', async (context) => {
  const folder = await testFolder(context);
  const source = join(folder, 'source.qcow2');
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', source, '1T');
  // 128 MiB of data all over the disk.
  const writes = Array.from(
    { length: 128 },
    (_, i) => `write -q -P ${1 + (i % 255)} ${i * 8191 * MIB} ${MIB}`,
  );
  await tool('qemu-io', '-f', 'qcow2', ...writes.flatMap((write) => ['-c', write]), source);
  const tasks = [
    ['plain', 'plain.qcow2'],
    ['zstd', 'zstd.qcow2'],
    ['digest', ''],
    ['compare', 'plain.qcow2'],
    ['compare', 'zstd.qcow2'],
  ] as const;
  for (const [task, other] of tasks) {
    const child = [
      '--conditions=source',
      '--input-type=module',
      '-e',
      program,
      task,
      source,
      join(folder, other),
    ];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, child);
    if (task === 'compare') assert.match(stderr, /true/);
    const mebibytes = Number(stdout) / 1024;
    assert.ok(mebibytes > 20 && mebibytes < LIMIT_MIB, `${task} ${other}: ${mebibytes} MiB`);
  }
});
