import assert from 'node:assert/strict';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { diskOf, MIB, peer, temporaryFolder } from '../images.testkit.ts';
import { inspectGuest } from '../inspect.ts';

async function scripted(t: TestContext, script: string, sizeBytes = 64 * MIB) {
  const folder = await temporaryFolder(t);
  const image = join(folder, 'disk.img');
  await writeFile(image, '');
  await truncate(image, sizeBytes);
  await peer('sfdisk', ['--quiet', image], script);
  const told = JSON.parse(await peer('sfdisk', ['--json', image])).partitiontable;
  return { image, told, bytes: new Uint8Array(await readFile(image)) };
}

interface ToldPartition {
  readonly start: number;
  readonly size: number;
  readonly type: string;
  readonly uuid?: string;
  readonly name?: string;
  readonly bootable?: boolean;
}

test('a GPT is what sfdisk says', async (t) => {
  const { bytes, told } = await scripted(
    t,
    'label: gpt\nsize=4MiB, type=U, name="EFI System Partition"\nsize=1MiB, type=21686148-6449-6E6F-744E-656564454649\n' +
      'size=10MiB, type=L, name=рут, attrs=LegacyBIOSBootable\ntype=E6D6D379-F507-44C2-A23C-238F2A3DF928\n',
  );
  const report = await inspectGuest(await diskOf(bytes));
  assert.equal(report.partitionTable.kind, 'gpt');
  assert.equal(report.partitionTable.id, told.id.toLowerCase());
  assert.deepEqual(
    report.partitions.map(({ offsetBytes, lengthBytes, type, uuid, name }) => ({
      offsetBytes,
      lengthBytes,
      type,
      uuid,
      name,
    })),
    told.partitions.map(({ start, size, type, uuid, name }: ToldPartition) => ({
      offsetBytes: start * 512,
      lengthBytes: size * 512,
      type: type.toLowerCase(),
      uuid: uuid?.toLowerCase(),
      name,
    })),
  );
  assert.deepEqual(
    report.partitions.map(({ typeName }) => typeName),
    ['EFI system', 'BIOS boot', 'Linux', 'Linux LVM'],
  );
  assert.deepEqual(
    report.partitions.map(({ isActive }) => isActive),
    [false, false, true, false],
  );
  assert.deepEqual(report.findings, []);
});

test('primary and logical partitions of an MBR are what sfdisk says', async (t) => {
  const { bytes, told } = await scripted(
    t,
    'label: dos\nsize=4MiB, type=c\nsize=8MiB, type=83, bootable\nsize=40MiB, type=5\nsize=2MiB, type=82\n' +
      'size=3MiB, type=83\nsize=4MiB, type=8e\nsize=5MiB, type=7\n',
  );
  const report = await inspectGuest(await diskOf(bytes));
  assert.equal(report.partitionTable.kind, 'mbr');
  assert.equal(report.partitionTable.id, told.id);
  const sorted = [...report.partitions].sort((a, b) => a.number - b.number);
  assert.deepEqual(
    sorted.map(({ number, offsetBytes, lengthBytes, type, isActive }) => ({
      number,
      offsetBytes,
      lengthBytes,
      type,
      isActive,
    })),
    told.partitions.map(({ start, size, type, bootable = false }: ToldPartition, index: number) => ({
      number: index + 1,
      offsetBytes: start * 512,
      lengthBytes: size * 512,
      type: `0x${type.padStart(2, '0')}`,
      isActive: bootable,
    })),
  );
  assert.deepEqual(
    sorted.map(({ number }) => number),
    [1, 2, 3, 4, 5, 6, 7],
  );
});

test('a damaged primary GPT gives way to the backup, and one that is cut off is noticed', async (t) => {
  const { bytes } = await scripted(t, 'label: gpt\nsize=4MiB, type=U\ntype=L\n');
  const intact = await inspectGuest(await diskOf(bytes));
  for (const place of [512 + 16, 512 + 60, 1024 + 20]) {
    const damaged = bytes.slice();
    damaged[place] = (damaged[place] ?? 0) ^ 0xff;
    const report = await inspectGuest(await diskOf(damaged));
    assert.deepEqual(report.partitions, intact.partitions);
    assert.deepEqual(
      report.findings.map(({ code }) => code),
      ['GPT_PRIMARY_DAMAGED'],
    );
  }
  const codes = async (changed: Uint8Array) =>
    (await inspectGuest(await diskOf(changed))).findings.map(({ code }) => code);
  assert.deepEqual(await codes(bytes.subarray(0, 60 * MIB)), ['GPT_BACKUP_MISSING', 'PARTITION_BEYOND_DISK']);
  const grown = new Uint8Array(bytes.length + MIB);
  grown.set(bytes);
  assert.deepEqual(await codes(grown), ['GPT_BACKUP_NOT_AT_END']);
  const lost = bytes.slice();
  lost[520] = 0xff;
  lost[lost.length - 500] = 0xff;
  const report = await inspectGuest(await diskOf(lost));
  assert.deepEqual(
    report.findings.map(({ code }) => code),
    ['GPT_DAMAGED'],
  );
});

test('a GPT in sectors of 4096 bytes, and a hybrid MBR, are read', async (t) => {
  const folder = await temporaryFolder(t);
  const image = join(folder, 'disk.img');
  await writeFile(image, '');
  await truncate(image, 64 * MIB);
  await peer('fdisk', ['--sector-size', '4096', image], 'g\nn\n\n\n+8M\nn\n\n\n\nw\n');
  const large = await inspectGuest(await diskOf(await readFile(image)));
  assert.deepEqual(large.partitions.map(({ offsetBytes, lengthBytes }) => [offsetBytes, lengthBytes])[0], [
    MIB,
    8 * MIB,
  ]);

  await writeFile(image, new Uint8Array(64 * MIB));
  await peer('sgdisk', ['--new=1:0:+8M', '--new=2:0:0', '--hybrid=1', image]);
  const hybrid = await inspectGuest(await diskOf(await readFile(image)));
  assert.deepEqual(
    [hybrid.partitionTable.kind, hybrid.partitionTable.isHybrid, hybrid.partitions.length],
    ['gpt', true, 2],
  );
});

test('a chain of logical partitions that turns back ends with a finding', async (t) => {
  const { bytes, told } = await scripted(
    t,
    'label: dos\nsize=1MiB\nsize=1MiB\nsize=1MiB\nsize=40MiB, type=5\nsize=2MiB, type=83\nsize=3MiB, type=83\n',
  );
  const extended = told.partitions[3].start * 512;
  const looped = bytes.slice();
  // The first record's second entry is the next record: from the start of the extended partition.
  new DataView(looped.buffer).setUint32(extended + 446 + 16 + 8, 0, true);
  const report = await inspectGuest(await diskOf(looped));
  assert.deepEqual(
    report.findings.map(({ code }) => code),
    ['DAMAGED'],
  );
  assert.deepEqual(
    report.partitions.map(({ number }) => number),
    [1, 2, 3, 4, 5],
  );
});

test('a disk without a table, an empty one and a tiny one are no failure', async () => {
  for (const lengthBytes of [0, 1, 512, 4096, MIB]) {
    const report = await inspectGuest(await diskOf(new Uint8Array(lengthBytes)));
    assert.deepEqual([report.partitionTable.kind, report.partitions, report.fileSystems], ['none', [], []]);
    assert.equal(report.firmware.bios.boots, 'no');
    assert.equal(report.firmware.uefi.boots, 'no');
  }
});
