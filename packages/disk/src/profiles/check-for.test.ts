import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { convert, planFiles } from '../convert/convert.ts';
import type { Disk } from '../disk/disk.ts';
import { denyReferences } from '../disk/reference-gate.ts';
import { layoutBytes, patternDisk, testFolder, tool, writeRaw } from '../formats/images.testkit.ts';
import { FOOTER_BYTES, setFooterChecksum } from '../formats/vhd/footer.ts';
import { HEADER_BYTES, HEADER_OFFSETS, setChecksum } from '../formats/vhdx/header.ts';
import { memorySink, memorySource } from '../io/memory.ts';
import type { Layout } from '../view/layout.ts';
import { checkFor } from './check-for.ts';
import { consumerNamed, consumers } from './consumers.ts';
import { type ConsumerForm, formatCheck, formFor } from './profile.ts';
import { ovaArchive } from './rules/archive.ts';
import { vmdkFacts } from './rules/vmdk-facts.ts';

const MIB = 1024 * 1024;
/** Its last grain and cluster are cut, and hold data. */
const SIZE_BYTES = 24 * MIB + 3 * 512;
const RUNS = [
  [0, 4096],
  [3 * MIB + 100, 300_000],
  [SIZE_BYTES - 700, 700],
] as const;

async function written(disk: Disk, form: ReturnType<typeof formFor>): Promise<Uint8Array> {
  const sink = memorySink();
  await convert(disk, sink, form);
  return sink.bytes();
}

/** The first file of a set: a descriptor. */
async function descriptorOf(disk: Disk, form: ReturnType<typeof formFor>): Promise<Uint8Array> {
  const plan = await planFiles(disk, form);
  assert.equal(plan.kind, 'files');
  const first = plan.kind === 'files' ? plan.files[0]?.plan : undefined;
  assert.equal(first?.kind, 'layout');
  return layoutBytes(first as Layout, disk);
}

/** The rules that a file breaks. */
async function broken(bytes: Uint8Array, consumer: string, format?: string): Promise<string[]> {
  const options = { references: denyReferences, format };
  const report = await checkFor(memorySource(bytes, 'image'), consumerNamed(consumer), options);
  for (const { message, origin, structure } of report.findings) {
    assert.ok(message !== '' && origin !== '' && structure !== '', 'a finding says what, where and why');
  }
  return report.findings.map(({ rule }) => rule);
}

/** Every combination of the values that a form takes. */
function combinations({ options, compressions, format }: ConsumerForm) {
  let all: Record<string, string>[] = [{}];
  for (const [name, values] of Object.entries(options)) {
    if (values !== 'any')
      all = all.flatMap((before) => values.map((value) => ({ ...before, [name]: value })));
  }
  return all.flatMap((values) =>
    compressions.map((method) => ({
      format,
      options: values,
      compression: method === 'none' ? undefined : method,
    })),
  );
}

for (const consumer of consumers) {
  test(`every form that is written for ${consumer.title} is what it demands`, async () => {
    const disk = patternDisk(SIZE_BYTES, RUNS);
    for (const form of consumer.forms) {
      for (const wish of combinations(form)) {
        const isRefusedByFormat =
          (wish.compression === 'zstd' && wish.options.compat === '0.10') ||
          (wish.compression === 'zlib' && wish.options.subformat === 'monolithicSparse');
        if (isRefusedByFormat) continue;
        if (wish.options.subformat === 'vmfs') {
          const descriptor = await descriptorOf(disk, formFor(consumer, wish));
          assert.deepEqual(
            await broken(descriptor, consumer.name),
            ['sound'],
            'alone, its extent is missing',
          );
          continue;
        }
        const bytes = await written(disk, formFor(consumer, wish));
        assert.deepEqual(await broken(bytes, consumer.name), [], JSON.stringify(wish));
      }
    }
  });

  test(`an empty disk is written for ${consumer.title} as it demands`, async () => {
    const bytes = await written(patternDisk(64 * MIB, []), formFor(consumer));
    assert.deepEqual(await broken(bytes, consumer.name), []);
  });
}

/** What qemu-img makes of the disk. */
async function qemuMade(context: TestContext, format: string, ...options: string[]): Promise<Uint8Array> {
  const folder = await testFolder(context);
  await writeRaw(join(folder, 'disk.raw'), SIZE_BYTES, RUNS);
  const target = join(folder, 'image');
  await tool('qemu-img', 'convert', '-f', 'raw', '-O', format, ...options, join(folder, 'disk.raw'), target);
  return readFile(target);
}

test('VirtualBox refuses what its qcow2 reader refuses or misreads', async (context) => {
  assert.deepEqual(await broken(await qemuMade(context, 'qcow2'), 'virtualbox'), []);
  assert.deepEqual(
    await broken(await qemuMade(context, 'qcow2', '-c', '-o', 'compression_type=zstd'), 'virtualbox'),
    ['qcow2-features'],
  );
  const subclusters = await qemuMade(context, 'qcow2', '-o', 'extended_l2=on,cluster_size=128k');
  assert.deepEqual(await broken(subclusters, 'virtualbox'), ['qcow2-features']);
  const folder = await testFolder(context);
  const path = join(folder, 'used.qcow2');
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', path, '16M');
  await tool('qemu-io', '-f', 'qcow2', '-c', 'write -P 7 0 1M', '-c', 'write -z 0 64k', path);
  assert.deepEqual(await broken(await readFile(path), 'virtualbox'), ['qcow2-zero-flags']);
  await tool('qemu-img', 'snapshot', '-c', 'before', path);
  assert.deepEqual(await broken(await readFile(path), 'virtualbox'), ['qcow2-snapshots', 'qcow2-zero-flags']);
  const overlay = join(folder, 'overlay.qcow2');
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'used.qcow2', '-F', 'qcow2', overlay);
  for (const consumer of ['virtualbox', 'oci', 'ims', 'qemu', 'proxmox']) {
    const rules = await broken(await readFile(overlay), consumer);
    assert.equal(rules[0], 'qcow2-one-file', consumer);
  }
});

test('VirtualBox refuses a qcow2 whose tables end with the file', async (context) => {
  const bytes = new Uint8Array(await qemuMade(context, 'qcow2', '-o', 'cluster_size=4k'));
  // A header that names the last cluster as that of the L1 table, and a file that ends behind its entries.
  const view = new DataView(bytes.buffer);
  const entryCount = view.getUint32(36);
  const l1 = Number(view.getBigUint64(40));
  const moved = new Uint8Array(bytes.length + entryCount * 8);
  moved.set(bytes);
  moved.set(bytes.subarray(l1, l1 + entryCount * 8), bytes.length);
  new DataView(moved.buffer).setBigUint64(40, BigInt(bytes.length));
  assert.ok((await broken(moved, 'virtualbox')).includes('qcow2-tables'));
});

test('a VMDK of qemu-img is not what VirtualBox and VMware take', async (context) => {
  assert.deepEqual(await broken(await qemuMade(context, 'vmdk'), 'virtualbox'), ['vmdk-uuids']);
  assert.deepEqual(await broken(await qemuMade(context, 'vmdk', '-o', 'zeroed_grain=on'), 'virtualbox'), [
    'vmdk-version',
    'vmdk-uuids',
  ]);
  const stream = await qemuMade(context, 'vmdk', '-o', 'subformat=streamOptimized');
  const forVirtualBox = await broken(stream, 'virtualbox');
  assert.ok(forVirtualBox.includes('vmdk-last-grain'), forVirtualBox.join());
  assert.ok((await broken(stream, 'vmware')).includes('vmdk-one-directory'));
  assert.ok((await broken(stream, 'aws')).includes('vmdk-one-directory'));
  assert.deepEqual(await broken(await qemuMade(context, 'vmdk'), 'vmware'), ['vmdk-stream']);
  assert.deepEqual(await broken(await qemuMade(context, 'vmdk'), 'aws'), ['vmdk-stream']);
  assert.deepEqual(await broken(await qemuMade(context, 'vmdk'), 'qemu'), []);
});

test('a VMDK of several files is for a datastore alone', async (context) => {
  const folder = await testFolder(context);
  await writeRaw(join(folder, 'disk.raw'), SIZE_BYTES, RUNS);
  const flat = join(folder, 'flat.vmdk');
  const options = ['-o', 'subformat=monolithicFlat'];
  await tool('qemu-img', 'convert', '-O', 'vmdk', ...options, join(folder, 'disk.raw'), flat);
  const descriptor = await readFile(flat);
  assert.ok((await broken(descriptor, 'vmware')).includes('vmdk-stream'));
  for (const consumer of ['virtualbox', 'oci', 'qemu']) {
    assert.ok((await broken(descriptor, consumer)).includes('vmdk-one-file'), consumer);
  }
});

test('a stream of single faults breaks the rule of each', async () => {
  const disk = patternDisk(SIZE_BYTES, RUNS);
  const stream = await written(disk, formFor(consumerNamed('vmware')));
  const withChange = (change: (view: DataView, bytes: Uint8Array) => void) => {
    const bytes = stream.slice();
    change(new DataView(bytes.buffer), bytes);
    return bytes;
  };
  const footer = stream.length - 1024;
  const versionOne = withChange((view) => {
    for (const at of [4, footer + 4]) view.setUint32(at, 1, true);
  });
  assert.deepEqual(await broken(versionOne, 'vmware'), ['vmdk-version']);
  assert.deepEqual(await broken(versionOne, 'aws'), ['vmdk-version']);
  assert.deepEqual(await broken(versionOne, 'virtualbox'), []);
  const text = (find: string, put: string) =>
    withChange((_, bytes) => {
      const at = Buffer.from(bytes.buffer).indexOf(find);
      assert.ok(at > 0);
      bytes.set(Buffer.from(put.padEnd(find.length)), at);
    });
  assert.deepEqual(await broken(text('"lsilogic"', '"floppy"'), 'vmware'), ['vmdk-adapter']);
  assert.deepEqual(await broken(text('CID=', 'CIX='), 'vmware'), ['vmdk-descriptor']);
  assert.deepEqual(await broken(text('ddb.uuid.image', 'ddb.uuid.other'), 'virtualbox'), ['vmdk-uuids']);
  assert.deepEqual(await broken(text('\nddb.adapter', '\n db.adapter'), 'virtualbox'), [
    'vmdk-descriptor-lines',
  ]);
  const cut = await broken(stream.subarray(0, stream.length - 512), 'virtualbox');
  assert.deepEqual(cut, ['sound']);
});

test('grains out of the order of the disk are no stream', async () => {
  const disk = patternDisk(SIZE_BYTES, RUNS);
  const stream = await written(disk, formFor(consumerNamed('vmware')));
  const view = new DataView(stream.buffer);
  // The one grain table stands before its directory, which the footer names: two used entries change places.
  const directory = Number(view.getBigUint64(stream.length - 1024 + 56, true)) * 512;
  const table = view.getUint32(directory, true) * 512;
  const used = Array.from({ length: 512 }, (_, i) => table + i * 4).filter(
    (at) => view.getUint32(at, true) > 0,
  );
  const [first = 0, second = 0] = used;
  const sectors = [view.getUint32(first, true), view.getUint32(second, true)] as const;
  for (const [at, sector] of [
    [first, sectors[1]],
    [second, sectors[0]],
  ] as const) {
    const lba = ((at - table) / 4) * 128;
    view.setUint32(at, sector, true);
    view.setBigUint64(sector * 512, BigInt(lba), true);
  }
  assert.deepEqual(await broken(stream, 'virtualbox'), ['vmdk-grain-order']);
  assert.deepEqual(await broken(stream, 'vmware'), ['vmdk-grain-order']);
});

test('redundant tables that differ are refused by VirtualBox', async () => {
  const sparse = await written(patternDisk(SIZE_BYTES, RUNS), {
    ...formFor(consumerNamed('virtualbox'), { format: 'vmdk' }),
  });
  const view = new DataView(sparse.buffer);
  const redundant = view.getUint32(Number(view.getBigUint64(48, true)) * 512, true) * 512;
  view.setUint32(redundant + 100 * 4, 1_000_000, true);
  assert.ok((await broken(sparse, 'virtualbox')).includes('vmdk-directories'));
});

test('Azure takes fixed disks of whole MiB by a creator whose size counts', async (context) => {
  assert.deepEqual(await broken(await qemuMade(context, 'vpc'), 'azure'), ['vhd-fixed', 'vhd-whole-mib']);
  const fixed = await qemuMade(context, 'vpc', '-o', 'subformat=fixed,force_size');
  assert.deepEqual(await broken(fixed, 'azure'), ['vhd-whole-mib']);
  const own = await written(patternDisk(SIZE_BYTES, RUNS), formFor(consumerNamed('azure')));
  assert.equal(own.length, 25 * MIB + FOOTER_BYTES);
  const edited = (change: (footer: Uint8Array) => void) => {
    const bytes = own.slice();
    const footer = bytes.subarray(bytes.length - FOOTER_BYTES);
    change(footer);
    setFooterChecksum(footer);
    return bytes;
  };
  const byQemu = edited((footer) => footer.set(Buffer.from('qemu'), 28));
  assert.deepEqual(await broken(byQemu, 'azure'), ['vhd-creator']);
  assert.deepEqual(await broken(byQemu, 'hyper-v'), ['vhd-creator']);
  const byFreeBsd = edited((footer) => footer.set(Buffer.from('FBSD'), 36));
  assert.deepEqual(await broken(byFreeBsd, 'azure'), ['vhd-host-os']);
  const small = await written(patternDisk(MIB, []), formFor(consumerNamed('azure')));
  assert.deepEqual(await broken(small, 'azure'), ['disk-size']);
  const slack = Buffer.concat([own.subarray(0, 25 * MIB), Buffer.alloc(512), own.subarray(25 * MIB)]);
  assert.deepEqual(await broken(slack, 'azure'), ['vhd-length']);
});

test('a VDI without its own UUIDs is refused by VirtualBox', async () => {
  const bytes = await written(patternDisk(SIZE_BYTES, RUNS), formFor(consumerNamed('virtualbox')));
  bytes.fill(0, 408, 424);
  assert.deepEqual(await broken(bytes, 'virtualbox'), ['vdi-uuids']);
  assert.deepEqual(await broken(bytes, 'qemu'), []);
});

test('a format that a consumer does not take is a finding, and so is damage', async (context) => {
  const qcow2 = await qemuMade(context, 'qcow2');
  assert.deepEqual(await broken(qcow2, 'azure'), ['format']);
  assert.deepEqual(await broken(new Uint8Array(1000), 'virtualbox', 'raw'), ['format']);
  assert.deepEqual(await broken(new Uint8Array(1000), 'qemu'), ['raw-sectors']);
  assert.deepEqual(await broken(qcow2.subarray(0, 200_000), 'qemu'), ['sound']);
  const luks = Buffer.concat([Buffer.from('LUKS\xba\xbe\0\x01', 'latin1'), Buffer.alloc(4096)]);
  assert.deepEqual(await broken(luks, 'qemu'), ['format']);
});

test('a VHDX that qemu-img made is not marked as Hyper-V demands, and one that was not closed is refused', async (context) => {
  assert.deepEqual(await broken(await qemuMade(context, 'vhdx'), 'hyper-v'), ['vhdx-regions']);
  assert.deepEqual(await broken(await qemuMade(context, 'vhdx'), 'qemu'), []);
  const own = await written(patternDisk(SIZE_BYTES, RUNS), formFor(consumerNamed('hyper-v')));
  const open = own.slice();
  for (const at of HEADER_OFFSETS) {
    const header = open.subarray(at, at + HEADER_BYTES);
    header.fill(0x11, 48, 64);
    setChecksum(header);
  }
  for (const consumer of ['hyper-v', 'virtualbox', 'qemu', 'aws']) {
    assert.deepEqual(await broken(open, consumer), ['vhdx-log'], consumer);
  }
  const large = { subformat: 'dynamic', logical_sector_size: '4096' };
  const sectors = await written(patternDisk(24 * MIB, RUNS.slice(0, 2)), {
    format: 'vhdx',
    options: large,
    compression: undefined,
  });
  assert.deepEqual(await broken(sectors, 'hyper-v'), []);
  assert.deepEqual(await broken(sectors, 'qemu'), ['vhdx-sector-size']);
});

test('an archive is checked with the rules of the disk inside, which it places', async () => {
  const disk = patternDisk(SIZE_BYTES, RUNS);
  const appliance = await written(disk, formFor(consumerNamed('vmware'), { format: 'ova' }));
  for (const consumer of ['vmware', 'virtualbox', 'aws']) {
    assert.deepEqual(await broken(appliance, consumer), [], consumer);
  }
  assert.deepEqual(await broken(appliance, 'proxmox'), ['format']);
  const text = Buffer.from(appliance);
  const edited = (find: string, put: string) => {
    const bytes = Buffer.from(text);
    const at = bytes.indexOf(find);
    assert.ok(at > 0, find);
    bytes.write(put.padEnd(find.length), at, 'latin1');
    return bytes;
  };
  const adapter = await broken(edited('"lsilogic"', '"floppy"'), 'vmware');
  assert.ok(adapter.includes('vmdk-adapter'), adapter.join());
  // What VMware is to VirtualBox's machines: a consumer that does not start those of VMware.
  const strict = ovaArchive(formatCheck('vmdk', vmdkFacts, []), ['vmx-']);
  const { facts, findings } = await strict.run(memorySource(appliance), { references: denyReferences });
  assert.equal(facts.virtualSizeBytes, SIZE_BYTES);
  assert.deepEqual(
    findings.map(({ rule }) => rule),
    ['ova-system'],
  );
  const archive = await written(disk, formFor(consumerNamed('oci'), { format: 'oci' }));
  for (const consumer of ['oci', 'virtualbox'])
    assert.deepEqual(await broken(archive, consumer), [], consumer);
});

test('a file with bent bytes is a finding, or too much to look at, and never a crash', async () => {
  const disk = patternDisk(3 * MIB + 512, [[0, 70_000]]);
  const forms = [
    { format: 'qcow2' },
    { format: 'vmdk', options: { subformat: 'streamOptimized' } },
    { format: 'vmdk' },
    { format: 'vdi' },
    { format: 'vhd' },
    { format: 'vhdx' },
    { format: 'ova' },
  ];
  for (const form of forms) {
    const sound = await written(disk, { options: {}, compression: undefined, ...form });
    const change = fc.tuple(fc.nat(Math.min(sound.length, 400_000) - 1), fc.integer({ min: 1, max: 255 }));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
        const bytes = sound.slice();
        for (const [at, bits] of changes) bytes[at] = (bytes[at] ?? 0) ^ bits;
        for (const consumer of consumers) {
          const options = { references: denyReferences, format: form.format };
          await checkFor(memorySource(bytes, 'image'), consumer, options).catch((error) => {
            assert.equal(error.code, 'IMAGE_LIMIT', `${consumer.name}: ${error.stack}`);
          });
        }
      }),
      { numRuns: 25 },
    );
  }
});
