import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { convert } from '../../convert/convert.ts';
import { diskDigest } from '../../disk/digest.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { patternDisk, testFolder, tool, writeRaw } from '../../formats/images.testkit.ts';
import { openDisk } from '../../formats/open.ts';
import { rawDisk } from '../../formats/raw/format.ts';
import { forwardSource } from '../../io/forward.ts';
import { memorySink, memorySource } from '../../io/memory.ts';
import { fileSink } from '../../io/node-file.ts';
import { noise, rawMember } from '../tar/tar.testkit.ts';
import { ova } from './format.ts';
import { readOvaDescriptor } from './read-descriptor.ts';

const size = 5 * 2 ** 20 + 512;
const runs = [
  [0, 70_000],
  [3 * 2 ** 20, 200_000],
] as const;
const references = denyReferences;
const seed = new Uint8Array(32);

async function imageBytes(format: string, options = {}): Promise<Buffer> {
  const sink = memorySink();
  await convert(patternDisk(size, runs), sink, { format, options });
  return Buffer.from(sink.bytes());
}

const vmdkBytes = () => imageBytes('vmdk', { subformat: 'streamOptimized' });

interface FileOf {
  readonly href: string;
  readonly attributes?: string;
  readonly disk?: string;
}

function descriptor(...files: FileOf[]): string {
  const references = files.map(
    ({ href, attributes = '' }, i) => `<File id="f${i}" href="${href}" ${attributes}/>`,
  );
  const disks = files.map(
    (
      {
        disk = `format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized" capacity="${size}"`,
      },
      i,
    ) => `<Disk diskId="d${i}" fileRef="f${i}" ${disk}/>`,
  );
  return `<Envelope><References>${references.join('')}</References><DiskSection>${disks.join('')}</DiskSection></Envelope>`;
}

const open = (bytes: Uint8Array, options = {}) =>
  openDisk(memorySource(bytes, 'x.ova'), { references, ...options });

test('an appliance is what tar, Python, an XML parser and qemu-img take, and its manifest is true', async (context) => {
  const folder = await testFolder(context);
  const path = join(folder, 'x.ova');
  const disk = patternDisk(size, runs);
  const options = {
    name: 'Web & more',
    cpus: '4',
    memory_mib: '4096',
    firmware: 'efi',
    os: 'debian11_64Guest',
  };
  const lengthBytes = await convert(disk, await fileSink(path), { format: 'ova', options });
  assert.equal(lengthBytes % 10240, 0);
  const names = ['Web-more.ovf', 'Web-more-disk1.vmdk', 'Web-more.mf'];
  assert.equal(await tool('tar', '-tf', path), `${names.join('\n')}\n`);
  await tool('tar', '-C', folder, '-xf', path);
  const manifest = await readFile(join(folder, 'Web-more.mf'), 'utf8');
  const lines = await Promise.all(
    names.slice(0, 2).map(async (name) => {
      const hash = createHash('sha256').update(await readFile(join(folder, name)));
      return `SHA256(${name})= ${hash.digest('hex')}\n`;
    }),
  );
  assert.equal(manifest, lines.join(''));
  const script = `
import os, sys, tarfile, xml.etree.ElementTree as E
os.chdir(sys.argv[1])
assert tarfile.open('x.ova').getnames() == ['Web-more.ovf', 'Web-more-disk1.vmdk', 'Web-more.mf']
o = '{http://schemas.dmtf.org/ovf/envelope/1}'
root = E.parse('Web-more.ovf').getroot()
file, disk = root.find('.//' + o + 'File'), root.find('.//' + o + 'Disk')
assert int(file.get(o + 'size')) == os.path.getsize(file.get(o + 'href')), file.attrib
print(disk.get(o + 'capacity'), root.find('.//' + o + 'Name').text, root.find('.//{http://www.vmware.com/schema/ovf}Config').attrib)`;
  const printed = await tool('python3', '-c', script, folder);
  assert.match(printed, new RegExp(`^${size} Web & more .*efi`));
  await writeRaw(join(folder, 'disk.raw'), size, runs);
  const image = join(folder, 'Web-more-disk1.vmdk');
  await tool('qemu-img', 'compare', '-f', 'vmdk', '-F', 'raw', image, join(folder, 'disk.raw'));

  const bytes = await readFile(path);
  const opened = await open(bytes);
  assert.equal(opened.format, 'ova');
  assert.deepEqual(opened.warnings, []);
  assert.equal(opened.details.name, 'Web & more');
  assert.equal(opened.details.cpuCount, 4);
  assert.equal(opened.details.memoryBytes, 2 ** 32);
  assert.equal(opened.details.firmware, 'efi');
  assert.equal(await diskDigest(opened), await diskDigest(disk));
  assert.deepEqual((await ova.check?.(memorySource(bytes), { references }))?.findings, []);

  // One bit of a grain: the disk may still be read, the manifest knows.
  const at = bytes.indexOf('KDMV') + 70_000;
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  const damaged = await ova.check?.(memorySource(bytes), { references });
  assert.ok((damaged?.corruptionCount ?? 0) > 0);
  assert.match(damaged?.findings[0]?.message ?? '', /SHA256/);
});

test('an appliance goes on from any checkpoint with the same bytes, two runs of a plan side by side', async () => {
  const disk = rawDisk(memorySource(noise(5 * 2 ** 20)));
  const plan = await ova.plan?.(disk, { options: {}, seed, baseName: 'disk' });
  if (plan?.kind !== 'stream') throw new Error('an appliance is a stream');
  const run = async (resumeFrom?: Uint8Array) => {
    const chunks: { offsetBytes: number; bytes: Buffer }[] = [];
    const checkpoints: Uint8Array[] = [];
    for await (const { offsetBytes, bytes, checkpoint } of plan.chunks({ resumeFrom })) {
      chunks.push({ offsetBytes, bytes: Buffer.from(bytes) });
      if (checkpoint !== undefined) checkpoints.push(checkpoint());
    }
    return { chunks, checkpoints };
  };
  const [whole, again] = await Promise.all([run(), run()]);
  assert.deepEqual(again.chunks, whole.chunks);
  assert.ok(whole.checkpoints.length > 1);
  for (const [i, checkpoint] of whole.checkpoints.entries()) {
    assert.deepEqual((await run(checkpoint)).chunks, whole.chunks.slice(i + 1));
  }
});

test('disks of other formats are read as what the descriptor says, with a warning', async () => {
  for (const [format, address] of [
    ['qcow2', 'http://www.gnome.org/~markmc/qcow-image-format.html'],
    ['vhd', 'http://technet.microsoft.com/en-us/library/bb676673.aspx#vhd'],
    ['qcow2', 'https://example.org/qcow2'],
  ] as const) {
    const image = await imageBytes(format);
    const bytes = Buffer.concat([
      rawMember('x.ovf', descriptor({ href: 'disk', disk: `format="${address}"` })),
      rawMember('disk', image),
      Buffer.alloc(1024),
    ]);
    const disk = await open(bytes);
    assert.equal(await diskDigest(disk), await diskDigest(patternDisk(size, runs)));
    assert.equal(disk.warnings.length, 1);
  }
});

test('a descriptor that says VMDK around another format is refused', async () => {
  const bytes = Buffer.concat([
    rawMember('x.ovf', descriptor({ href: 'd.vmdk' })),
    rawMember('d.vmdk', await imageBytes('qcow2')),
  ]);
  await assert.rejects(open(bytes), { code: 'IMAGE_UNSUPPORTED', message: /vmdk is expected/ });
});

test('several disks are listed, and one is chosen by its id or its file', async () => {
  const image = await vmdkBytes();
  const bytes = Buffer.concat([
    rawMember('x.ovf', descriptor({ href: 'a.vmdk' }, { href: 'b%20b.vmdk' })),
    rawMember('a.vmdk', image),
    rawMember('b b.vmdk', image),
  ]);
  await assert.rejects(open(bytes), { code: 'IMAGE_OPTION', hint: /d0, d1/ });
  await assert.rejects(open(bytes, { member: 'd2' }), { code: 'IMAGE_OPTION' });
  await assert.rejects(open(bytes, { snapshot: 's' }), { code: 'IMAGE_OPTION' });
  assert.equal((await open(bytes, { member: 'd1' })).details.member, 'b b.vmdk');
  assert.equal((await open(bytes, { member: 'a.vmdk' })).details.member, 'a.vmdk');
});

test('a capacity that is not the size of the disk is told', async () => {
  const disk = 'format="http://x/vmdk.html" capacity="1" capacityAllocationUnits="byte * 2^30"';
  const bytes = Buffer.concat([
    rawMember('x.ovf', descriptor({ href: 'a.vmdk', disk })),
    rawMember('a.vmdk', await vmdkBytes()),
  ]);
  assert.match((await open(bytes)).warnings.join(), /1073741824 bytes; it has 5243392/);
});

test('an arriving appliance is read as it comes, its disk while it passes', async () => {
  const sink = memorySink();
  const disk = rawDisk(memorySource(noise(3 * 2 ** 20)));
  await convert(disk, sink, { format: 'ova' });
  const bytes = sink.bytes();
  async function* arriving(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += 50_000) yield bytes.subarray(at, at + 50_000);
  }
  const source = forwardSource(arriving(), bytes.length, 'x.ova');
  const opened = await openDisk({ ...bound(source), sequential: true }, { references, format: 'ova' });
  assert.equal(await diskDigest(opened), await diskDigest(disk));
  await source.drain();
});

/** A source whose methods can be spread. */
function bound(source: ReturnType<typeof forwardSource>) {
  const { name, lengthBytes } = source;
  return { name, lengthBytes, read: source.read.bind(source), close: () => source.close() };
}

const hostile: Readonly<Record<string, { members: (image: Buffer) => Buffer[]; code: string }>> = {
  'no descriptor': { members: (image) => [rawMember('d.vmdk', image)], code: 'IMAGE_MALFORMED' },
  'two descriptors': {
    members: () => [rawMember('a.ovf', '<Envelope/>'), rawMember('b.ovf', '<Envelope/>')],
    code: 'IMAGE_MALFORMED',
  },
  'no disk': { members: () => [rawMember('a.ovf', '<Envelope/>')], code: 'IMAGE_MALFORMED' },
  'a disk that is not there': {
    members: () => [rawMember('a.ovf', descriptor({ href: 'd.vmdk' }))],
    code: 'IMAGE_MALFORMED',
  },
  'a disk of an absolute name': {
    members: () => [rawMember('a.ovf', descriptor({ href: '/etc/passwd' }))],
    code: 'IMAGE_MALFORMED',
  },
  'a disk that is a link': {
    members: () => [
      rawMember('a.ovf', descriptor({ href: 'd.vmdk' })),
      rawMember('d.vmdk', '', { 156: '2' }),
    ],
    code: 'IMAGE_UNSUPPORTED',
  },
  'a descriptor that is a link': {
    members: () => [rawMember('a.ovf', '', { 156: '2' })],
    code: 'IMAGE_MALFORMED',
  },
  'a descriptor of 2 MiB': {
    members: () => [rawMember('a.ovf', ' '.repeat(2 ** 21))],
    code: 'IMAGE_LIMIT',
  },
  'a chunked disk': {
    members: (image) => [
      rawMember('a.ovf', descriptor({ href: 'd', attributes: 'chunkSize="100"' })),
      rawMember('d', image),
    ],
    code: 'IMAGE_UNSUPPORTED',
  },
  'a disk compressed by an unknown method': {
    members: (image) => [
      rawMember('a.ovf', descriptor({ href: 'd', attributes: 'compression="bzip2"' })),
      rawMember('d', image),
    ],
    code: 'IMAGE_UNSUPPORTED',
  },
  'a difference to another disk': {
    members: (image) => [
      rawMember('a.ovf', descriptor({ href: 'd', disk: 'parentRef="d9"' })),
      rawMember('d', image),
    ],
    code: 'IMAGE_UNSUPPORTED',
  },
  'a descriptor VMDK that names another file': {
    members: () => [
      rawMember('a.ovf', descriptor({ href: 'd.vmdk' })),
      rawMember(
        'd.vmdk',
        '# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 8 FLAT "/etc/passwd" 0\n',
      ),
    ],
    code: 'IMAGE_REFERENCE',
  },
};

for (const [what, { members, code }] of Object.entries(hostile)) {
  test(`an appliance with ${what} is refused`, async () => {
    const bytes = Buffer.concat(members(await vmdkBytes()));
    await assert.rejects(open(bytes, { format: 'ova' }), { name: 'ImageError', code });
  });
}

test('a check tells what the manifest misses, and refuses one that is no manifest', async () => {
  const image = await vmdkBytes();
  const check = (manifest: string) => {
    const members = [
      rawMember('x.ovf', descriptor({ href: 'd.vmdk' })),
      rawMember('d.vmdk', image),
      rawMember('x.mf', manifest),
    ];
    return ova.check?.(memorySource(Buffer.concat(members)), { references });
  };
  const sha1 = createHash('sha1').update(image).digest('hex');
  const report = await check(`SHA1(d.vmdk)= ${sha1}\r\nSHA256(gone.vmdk)= ${'0'.repeat(64)}\r\n`);
  assert.equal(report?.corruptionCount, 1);
  assert.equal(report?.warningCount, 1);
  for (const bad of ['hello', `SHA1(d.vmdk)= ${'0'.repeat(64)}`, `SHA1(a)= ${sha1}\nSHA1(a)= ${sha1}`]) {
    await assert.rejects(async () => check(bad), { code: 'IMAGE_MALFORMED' });
  }
});

test('values that no machine has are refused', async () => {
  for (const [name, value] of Object.entries({
    cpus: '0',
    memory_mib: '3',
    firmware: 'BIOS',
    os: 'a b',
    name: 'a\nb',
  })) {
    const plan = async () =>
      ova.plan?.(patternDisk(size, runs), { options: { [name]: value }, seed, baseName: 'd' });
    await assert.rejects(plan, { code: 'IMAGE_OPTION' }, name);
  }
});

const givenDescriptor = `\ufeff<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:x="urn:x">
  <!-- <File ovf:id="file1" ovf:href="comment" ovf:size="1"/> -->
  <References><File ovf:id='file1' ovf:href='root é.qcow2' /></References>
  <DiskSection><Info/><Disk ovf:capacity="7" ovf:capacityAllocationUnits="byte * 2^30" ovf:populatedSize="5" ovf:diskId="d" ovf:fileRef="file1" ovf:format="http://x/qcow"/><Disk ovf:diskId="empty" ovf:capacity="5"/></DiskSection>
  <VirtualSystem ovf:id="vm"><Info/><Name>Web &amp; more</Name><x:Own ovf:required="false">kept é</x:Own></VirtualSystem>
</Envelope>
`;

test('a descriptor that is given becomes that of the disk that is written, and stays as it is otherwise', async (context) => {
  const folder = await testFolder(context);
  const path = join(folder, 'x.ova');
  const disk = patternDisk(size, runs);
  await convert(disk, await fileSink(path), { format: 'ova', options: { descriptor: givenDescriptor } });
  const bytes = await readFile(path);
  assert.deepEqual((await ova.check?.(memorySource(bytes), { references }))?.findings, []);
  await tool('tar', '-C', folder, '-xf', path);
  const file = await readFile(join(folder, 'Web-more-disk1.vmdk'));
  const { name, bytes: written } = await readOvaDescriptor(memorySource(bytes));
  assert.equal(name, 'Web-more.ovf');
  assert.deepEqual(Buffer.from(written), await readFile(join(folder, name)));
  const expected = givenDescriptor
    .slice(1)
    .trimEnd()
    .replace(` ovf:href='root é.qcow2' />`, ` ovf:href="Web-more-disk1.vmdk" ovf:size="${file.length}" />`)
    .replace(' ovf:capacity="7"', ` ovf:capacity="${size}"`)
    .replace('byte * 2^30', 'byte')
    .replace(' ovf:populatedSize="5"', '')
    .replace('http://x/qcow', 'http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized');
  assert.equal(Buffer.from(written).toString().trimEnd(), expected);
  const opened = await open(bytes);
  assert.deepEqual([opened.warnings, opened.details.name], [[], 'Web & more']);
  assert.equal(await diskDigest(opened), await diskDigest(disk));
});

test('a descriptor that does not describe one disk is refused, and so are options beside it', async () => {
  const two = '<File ovf:id="file2" ovf:href="b"/></References>';
  const whole = givenDescriptor.slice(1).trimEnd();
  const filledUp = `${whole}<!--${'x'.repeat(2 ** 20 - Buffer.byteLength(whole) - 7)}-->`;
  const refused: readonly (readonly [object, RegExp])[] = [
    [{ descriptor: '<domain/>' }, /not <Envelope>/],
    [{ descriptor: 'text' }, /is not the XML/],
    [{ descriptor: '<Envelope/>' }, /0 files and 0 disks/],
    [{ descriptor: givenDescriptor.replace('</References>', two) }, /2 files and 1 disks/],
    [{ descriptor: givenDescriptor.replace('ovf:fileRef', 'ovf:parentRef="x" ovf:fileRef') }, /difference/],
    [{ descriptor: givenDescriptor.replace("ovf:id='", `ovf:compression="gzip" ovf:id='`) }, /compressed/],
    [{ descriptor: givenDescriptor.slice(1).replace('UTF-8', 'UTF-16') }, /UTF-16/],
    [{ descriptor: filledUp }, /1 MiB is the most/],
    [{ descriptor: givenDescriptor, cpus: '2' }, /cpus and descriptor/],
  ];
  for (const [options, message] of refused) {
    const plan = async () =>
      ova.plan?.(patternDisk(size, runs), { options: { ...options }, seed, baseName: 'd' });
    await assert.rejects(plan, { code: 'IMAGE_OPTION', message });
  }
});

test('the descriptor of an archive is read alone, and one without is refused', async () => {
  const members = [rawMember('d.vmdk', 'not read'), rawMember('web.ovf', '<Envelope/>')];
  const source = (...parts: Buffer[]) => memorySource(Buffer.concat(parts), 'x.ova');
  const { name, bytes } = await readOvaDescriptor(source(...members));
  assert.deepEqual([name, Buffer.from(bytes).toString()], ['web.ovf', '<Envelope/>']);
  for (const parts of [members.slice(0, 1), [...members, rawMember('b.ovf', '')]])
    await assert.rejects(readOvaDescriptor(source(...parts)), { code: 'IMAGE_MALFORMED' });
});
