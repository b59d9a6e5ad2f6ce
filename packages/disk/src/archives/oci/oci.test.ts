import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { convert } from '../../convert/convert.ts';
import { diskDigest } from '../../disk/digest.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { patternDisk, testFolder, tool, writeRaw } from '../../formats/images.testkit.ts';
import { openDisk } from '../../formats/open.ts';
import { rawDisk } from '../../formats/raw/format.ts';
import { forwardSource, openEndedSource } from '../../io/forward.ts';
import { memorySink, memorySource } from '../../io/memory.ts';
import { fileSink } from '../../io/node-file.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import type { Layout } from '../../view/layout.ts';
import { noise, paxMember, paxRecord, rawMember } from '../tar/tar.testkit.ts';
import { parseOciDocument } from './document.ts';
import { oci } from './format.ts';

const size = 5 * 2 ** 20 + 512;
const runs = [
  [0, 70_000],
  [3 * 2 ** 20, 200_000],
] as const;
const references = denyReferences;
const seed = new Uint8Array(32);

async function qcow2Bytes(): Promise<Uint8Array> {
  const sink = memorySink();
  await convert(patternDisk(size, runs), sink, { format: 'qcow2' });
  return sink.bytes();
}

const metadata = (fields: object = {}) =>
  JSON.stringify({
    version: 2,
    externalLaunchOptions: { firmware: 'UEFI_64' },
    operatingSystem: 'Talos',
    ...fields,
  });

for (const compression of [undefined, 'zlib'] as const) {
  test(`an archive (${compression ?? 'uncompressed'}) is what tar, Python and qemu-img take`, async (context) => {
    const folder = await testFolder(context);
    const path = join(folder, 'x.oci');
    const disk = patternDisk(size, runs);
    const options = { firmware: 'UEFI_64', launch_mode: 'NATIVE', os: 'Debian', os_version: '13' };
    const lengthBytes = await convert(disk, await fileSink(path), { format: 'oci', options, compression });
    assert.equal(lengthBytes % 10240, 0);
    assert.equal(await tool('tar', '-tf', path), 'image_metadata.json\noutput.QCOW2\n');
    await tool('tar', '-C', folder, '-xf', path);
    await writeRaw(join(folder, 'disk.raw'), size, runs);
    const image = join(folder, 'output.QCOW2');
    await tool('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', image, join(folder, 'disk.raw'));
    await tool('qemu-img', 'check', '-f', 'qcow2', image);
    const script =
      'import json, sys, tarfile; t = tarfile.open(sys.argv[1]); print(t.getnames(), json.load(t.extractfile("image_metadata.json"))["externalLaunchOptions"]["firmware"])';
    assert.equal(
      (await tool('python3', '-c', script, path)).trim(),
      "['image_metadata.json', 'output.QCOW2'] UEFI_64",
    );

    const opened = await openDisk(memorySource(await readFile(path)), { references });
    assert.equal(opened.format, 'oci');
    assert.deepEqual(opened.warnings, []);
    const { metadata } = opened.details as { metadata: Record<string, unknown> };
    assert.equal(metadata.operatingSystem, 'Debian');
    assert.deepEqual(metadata.externalLaunchOptions, {
      firmware: 'UEFI_64',
      networkType: 'VFIO',
      bootVolumeType: 'ISCSI',
      remoteDataVolumeType: 'PARAVIRTUALIZED',
      localDataVolumeType: 'VFIO',
      launchOptionsSource: 'NATIVE',
      pvAttachmentVersion: 1,
      pvEncryptionInTransitEnabled: false,
      consistentVolumeNamingEnabled: false,
    });
    assert.equal(await diskDigest(opened), await diskDigest(disk));
    const report = await oci.check?.(memorySource(await readFile(path)), { references });
    assert.deepEqual(report?.findings, []);
  });
}

test('a compressed archive goes on from any checkpoint with the same bytes', async () => {
  const disk = rawDisk(memorySource(noise(5 * 2 ** 20)));
  const request = { options: {}, compression: 'zlib', seed, baseName: 'disk' } as const;
  const plan = await oci.plan?.(disk, request);
  if (plan?.kind !== 'stream') throw new Error('a compressed archive is a stream');
  const whole: { offsetBytes: number; bytes: Buffer }[] = [];
  const checkpoints: Uint8Array[] = [];
  for await (const { offsetBytes, bytes, checkpoint } of plan.chunks({})) {
    whole.push({ offsetBytes, bytes: Buffer.from(bytes) });
    if (checkpoint !== undefined) checkpoints.push(checkpoint());
  }
  assert.ok(checkpoints.length > 1);
  for (const [i, resumeFrom] of checkpoints.entries()) {
    const rest: object[] = [];
    for await (const { offsetBytes, bytes } of plan.chunks({ resumeFrom })) {
      rest.push({ offsetBytes, bytes: Buffer.from(bytes) });
    }
    assert.deepEqual(rest, whole.slice(i + 1));
  }
  const last = whole.reduce((end, { offsetBytes, bytes }) => Math.max(end, offsetBytes + bytes.length), 0);
  assert.ok(last <= plan.maximumLengthBytes);
});

test('where the placement says that data goes is where the layout has it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(fc.nat({ max: 300 }), { maxLength: 40 }), async (used) => {
      const blocks = [...used].sort((a, b) => a - b);
      const disk = patternDisk(
        301 * 65536,
        blocks.map((block) => [block * 65536, 65536] as const),
      );
      const request = { options: {}, seed, baseName: 'disk' };
      const layout = (await oci.plan?.(disk, request)) as Layout;
      const placement = await oci.placement?.(disk.virtualSizeBytes, request);
      assert.equal(placement?.kind, 'packed');
      if (placement?.kind !== 'packed' || placement.groupBlocks !== undefined) return;
      const map = AllocationMap.ofBlocks(65536, 301, used);
      let at = 0;
      for (const piece of layout.pieces(0, layout.lengthBytes)) {
        if (piece.kind === 'disk') {
          const rank = map.rank(piece.offsetBytes / placement.blockBytes);
          assert.equal(at, placement.startBytes + rank * placement.strideBytes);
        }
        at += piece.kind === 'bytes' ? piece.bytes.length : piece.lengthBytes;
      }
    }),
    { numRuns: 20 },
  );
});

test('archives made by hand are read: any order, any name, PAX headers, no document', async () => {
  const image = await qcow2Bytes();
  const digest = await diskDigest(patternDisk(size, runs));
  const big = Buffer.concat([paxMember(paxRecord('comment', 'x')), rawMember('./oracle-arm64.qcow2', image)]);
  const archives = {
    'disk first': Buffer.concat([rawMember('disk.img', image), rawMember('image_metadata.json', metadata())]),
    'PAX, document last': Buffer.concat([big, rawMember('./image_metadata.json', metadata())]),
    'no document': rawMember('output.QCOW2', image),
  };
  for (const [what, bytes] of Object.entries(archives)) {
    const disk = await openDisk(memorySource(bytes), { references });
    assert.equal(disk.format, 'oci', what);
    assert.equal(await diskDigest(disk), digest, what);
    assert.equal(disk.warnings.length, what === 'no document' ? 1 : 0, what);
  }
});

test('several disks are listed, and one is chosen by its name', async () => {
  const image = await qcow2Bytes();
  const bytes = Buffer.concat([
    rawMember('image_metadata.json', metadata()),
    rawMember('a.qcow2', image),
    rawMember('b.qcow2', image),
  ]);
  const open = (member?: string) => openDisk(memorySource(bytes, 'x.oci'), { references, member });
  await assert.rejects(open(), { code: 'IMAGE_OPTION', message: /a\.qcow2, b\.qcow2/ });
  await assert.rejects(open('c.qcow2'), { code: 'IMAGE_OPTION' });
  assert.equal((await open('b.qcow2')).details.member, 'b.qcow2');
});

test('an archive whose disk has a backing file, or no disk, is refused', async () => {
  const image = Buffer.from(await qcow2Bytes());
  image.writeBigUInt64BE(1024n, 8);
  image.writeUInt32BE(11, 16);
  image.write('/etc/passwd', 1024);
  const json = rawMember('image_metadata.json', metadata());
  const open = (...members: Buffer[]) => openDisk(memorySource(Buffer.concat(members)), { references });
  await assert.rejects(open(json, rawMember('output.QCOW2', image)), { code: 'IMAGE_REFERENCE' });
  await assert.rejects(open(json), { code: 'IMAGE_MALFORMED', message: /no disk/ });
  await assert.rejects(open(json, rawMember('output.QCOW2', '', { 156: '2' })), { code: 'IMAGE_MALFORMED' });
  await assert.rejects(open(rawMember('readme.txt', 'hello')), {
    code: 'IMAGE_UNSUPPORTED',
    message: /tar archive/,
  });
});

test('a document of another kind is read, and what OCI would not read is told', async () => {
  const image = await qcow2Bytes();
  const open = (fields: object) =>
    openDisk(
      memorySource(
        Buffer.concat([rawMember('image_metadata.json', metadata(fields)), rawMember('x', image)]),
      ),
      {
        references,
      },
    );
  const odd = await open({ added: [1], imageCapabilityData: '{' });
  assert.deepEqual(odd.warnings, []);
  assert.deepEqual((odd.details.metadata as { added: unknown }).added, [1]);
  assert.equal((await open({ version: '1.0' })).warnings.length, 1);
  assert.equal((await open({ externalLaunchOptions: null })).warnings.length, 1);
});

test('documents that are no document, too deep or too long are refused', () => {
  const refused = (text: string, code: string) =>
    assert.throws(() => parseOciDocument(Buffer.from(text)), { name: 'ImageError', code });
  refused('', 'IMAGE_MALFORMED');
  refused('[]', 'IMAGE_MALFORMED');
  refused('{"a":', 'IMAGE_MALFORMED');
  refused(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 'IMAGE_LIMIT');
  refused(`{"a":"${'"'.repeat(400_000)}`, 'IMAGE_MALFORMED');
  refused(`"${'\\"'.repeat(400_000)}`, 'IMAGE_MALFORMED');
  refused(`{"a":"${'a'.repeat(2 ** 20)}"}`, 'IMAGE_LIMIT');
});

test('options that OCI does not know are refused', async () => {
  const plan = async (options: Record<string, string>) =>
    oci.plan?.(patternDisk(size, runs), { options, seed, baseName: 'disk' });
  await assert.rejects(plan({ firmware: 'EFI' }), { code: 'IMAGE_OPTION' });
  await assert.rejects(plan({ launch_mode: 'FAST' }), { code: 'IMAGE_OPTION' });
  await assert.rejects(plan({ os: '' }), { code: 'IMAGE_OPTION' });
  await assert.rejects(plan({ os: 'a\nb' }), { code: 'IMAGE_OPTION' });
  for (const text of [
    '',
    '[]',
    metadata({ version: 1 }),
    metadata({ externalLaunchOptions: null }),
    '['.repeat(40),
  ])
    await assert.rejects(plan({ metadata: text }), {
      code: 'IMAGE_OPTION',
      message: /metadata cannot be written/,
    });
  await assert.rejects(plan({ metadata: metadata(), os: 'Talos' }), {
    code: 'IMAGE_OPTION',
    message: /together/,
  });
  await assert.rejects(plan({ metadata: metadata({ x: 'x'.repeat(2 ** 20) }) }), { code: 'IMAGE_OPTION' });
});

test('a document that is given is written as it is, and found again', async () => {
  const text = `${metadata({ added: { é: 1 } })}   `;
  const sink = memorySink();
  await convert(patternDisk(size, runs), sink, { format: 'oci', options: { metadata: text } });
  const bytes = Buffer.from(sink.bytes());
  assert.equal(bytes.subarray(512, 512 + Buffer.byteLength(text)).toString(), text);
  const disk = await openDisk(memorySource(bytes), { references });
  assert.deepEqual(disk.details.metadata, JSON.parse(text));
  assert.equal(await diskDigest(disk), await diskDigest(patternDisk(size, runs)));
});

async function* inChunks(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += 100_000) yield bytes.slice(at, at + 100_000);
}

test('an arriving archive is converted while it arrives, with its document before or after the disk', async () => {
  const image = await qcow2Bytes();
  // More than what is remembered of a stream, so that the disk is gone when the document comes.
  const readme = rawMember('readme', new Uint8Array(70 * 2 ** 20));
  const json = rawMember('image_metadata.json', metadata());
  const end = Buffer.alloc(1024);
  const archives = {
    before: [json, rawMember('output.QCOW2', image), end],
    after: [rawMember('output.QCOW2', image), json, end],
    'after, without an end': [rawMember('output.QCOW2', image), json],
    'far behind': [rawMember('output.QCOW2', image), readme, json, end],
    'far before': [json, readme, rawMember('output.QCOW2', image), end],
  };
  for (const [what, members] of Object.entries(archives)) {
    for (const isLengthKnown of [true, false]) {
      const bytes = Buffer.concat(members);
      const source = isLengthKnown
        ? forwardSource(inChunks(bytes), bytes.length, 'arriving')
        : await openEndedSource(inChunks(bytes), 'arriving');
      const disk = await openDisk(source, { references, format: 'oci' });
      assert.deepEqual(disk.warnings, [], what);
      const sink = memorySink();
      await convert(disk, sink, { format: 'raw' });
      assert.equal(
        await diskDigest(rawDisk(memorySource(sink.bytes()))),
        await diskDigest(patternDisk(size, runs)),
      );
      assert.deepEqual(disk.details.metadata, JSON.parse(metadata()), what);
      assert.deepEqual(disk.warnings, [], what);
      await source.drain();
    }
  }
});

test('an arriving archive in gzip has its document in the details as well', async () => {
  const image = await qcow2Bytes();
  const bytes = gzipSync(
    Buffer.concat([rawMember('output.QCOW2', image), rawMember('image_metadata.json', metadata())]),
  );
  const source = forwardSource(inChunks(bytes), bytes.length, 'arriving');
  const disk = await openDisk(source, { references });
  assert.equal(disk.details.metadata, undefined);
  await convert(disk, memorySink(), { format: 'raw' });
  assert.deepEqual(disk.details.metadata, JSON.parse(metadata()));
  assert.equal(disk.details.wrapper, 'gzip');
});

test('what ended the end of an arriving archive is told to who asks again', async () => {
  const members = [rawMember('output.QCOW2', await qcow2Bytes()), rawMember('image_metadata.json', '[]')];
  const bytes = Buffer.concat(members);
  const disk = await openDisk(forwardSource(inChunks(bytes), bytes.length, 'arriving'), { references });
  await assert.rejects(async () => disk.drain?.(), { code: 'IMAGE_MALFORMED' });
  await assert.rejects(async () => disk.drain?.(), { code: 'IMAGE_MALFORMED' });
});

test('what stands behind the disk of an arriving archive is refused before the result is trusted', async () => {
  const image = await qcow2Bytes();
  const disk = rawMember('output.QCOW2', image);
  const json = rawMember('image_metadata.json', metadata());
  const refusedAfter = {
    'a second disk': [[disk, rawMember('other', image)], 'IMAGE_OPTION'],
    'the same name again': [[disk, disk], 'IMAGE_MALFORMED'],
    'an absolute name': [[disk, rawMember('/etc/passwd', '')], 'IMAGE_MALFORMED'],
    'a document that is none': [[disk, rawMember('image_metadata.json', '[]')], 'IMAGE_MALFORMED'],
    'a cut member': [[disk, json.subarray(0, 550)], 'IMAGE_TRUNCATED'],
  } as const;
  for (const [what, [members, code]] of Object.entries(refusedAfter)) {
    const bytes = Buffer.concat(members);
    const source = forwardSource(inChunks(bytes), bytes.length, 'arriving');
    const opened = await openDisk(source, { references, format: 'oci' });
    const sink = memorySink();
    await assert.rejects(convert(opened, sink, { format: 'raw' }), { code }, what);
  }
  const bare = forwardSource(inChunks(disk), disk.length, 'arriving');
  const opened = await openDisk(bare, { references, format: 'oci' });
  await convert(opened, memorySink(), { format: 'raw' });
  assert.match(opened.warnings.join(), /no image_metadata\.json/);
});

test('an archive that GNU tar made is read', async (context) => {
  const folder = await testFolder(context);
  await writeFile(join(folder, 'image_metadata.json'), metadata());
  await writeFile(join(folder, 'output.QCOW2'), await qcow2Bytes());
  const path = join(folder, 'x.oci');
  await tool('tar', '-C', folder, '-cf', path, 'output.QCOW2', 'image_metadata.json');
  const disk = await openDisk(memorySource(await readFile(path)), { references });
  assert.equal((disk.details.metadata as { operatingSystem: string }).operatingSystem, 'Talos');
});
