import assert from 'node:assert/strict';
import { test } from 'node:test';
import { convert, denyReferences, memorySink, memorySource, openDisk } from '@gantry/disk';
import fc from 'fast-check';
import { machines, ociFacts, withoutBackslashes } from '../../model.testkit.ts';
import type { MachineFacts } from '../../model.ts';
import { readOciMetadata } from './read.ts';
import { writeOciMetadata } from './write.ts';

const capabilities = {
  'Compute.Firmware': {
    descriptorType: 'enumstring',
    values: ['BIOS', 'UEFI_64'],
    defaultValue: 'UEFI_64',
  },
  'Compute.SecureBoot': { descriptorType: 'boolean', defaultValue: false },
  'Storage.ParaVirtualization.AttachmentVersion': {
    descriptorType: 'enuminteger',
    values: [1, 2],
    defaultValue: 2,
  },
};

/** As OCI writes it: every field there is, the capabilities as a text. */
const exported = {
  version: 2,
  externalLaunchOptions: {
    firmware: 'UEFI_64',
    networkType: 'VFIO',
    bootVolumeType: 'ISCSI',
    remoteDataVolumeType: 'PARAVIRTUALIZED',
    localDataVolumeType: 'VFIO',
    launchOptionsSource: 'NATIVE',
    pvAttachmentVersion: 1,
    pvEncryptionInTransitEnabled: false,
    consistentVolumeNamingEnabled: true,
  },
  imageCapabilityData: JSON.stringify({ capabilities }),
  imageCapsFormatVersion: '9b8f0d9e-8f0b-4c55-9c0b-0f8f4a2b7d11',
  operatingSystem: 'Oracle Linux',
  operatingSystemVersion: '9',
  additionalMetadata: {
    sourcePublicImageId: null,
    shapeCompatibilities: [
      { internalShapeName: 'VM.Standard.E4.Flex', ocpuConstraints: null, memoryConstraints: null },
      {
        internalShapeName: 'VM.Standard.A1.Flex',
        ocpuConstraints: { min: 1, max: 80 },
        memoryConstraints: { minInGBs: 1, maxInGBs: 512 },
      },
      { internalShapeName: 'x7-2c.52.768', ocpuConstraints: null, memoryConstraints: null },
    ],
  },
};

const facts: MachineFacts = {
  firmware: 'uefi',
  guestOs: { name: 'Oracle Linux', version: '9' },
  launchOptions: {
    firmware: 'UEFI_64',
    networkType: 'VFIO',
    bootVolumeType: 'ISCSI',
    remoteDataVolumeType: 'PARAVIRTUALIZED',
    localDataVolumeType: 'VFIO',
    launchMode: 'NATIVE',
    pvAttachmentVersion: 1,
    isPvEncryptionInTransitEnabled: false,
    isConsistentVolumeNamingEnabled: true,
  },
  imageCapabilities: { formatVersion: '9b8f0d9e-8f0b-4c55-9c0b-0f8f4a2b7d11', capabilities },
  shapeCompatibilities: [
    { shape: 'VM.Standard.E4.Flex' },
    {
      shape: 'VM.Standard.A1.Flex',
      ocpuConstraints: { min: 1, max: 80 },
      memoryConstraints: { minInGBs: 1, maxInGBs: 512 },
    },
    { shape: 'x7-2c.52.768' },
  ],
  foreign: { 'oci-metadata': { additionalMetadata: { sourcePublicImageId: null } } },
};

const read = (document: unknown) => readOciMetadata(JSON.stringify(document));

test('a document as OCI exports it is read into the model, and written as it was', () => {
  assert.deepEqual(read(exported), { facts, warnings: [] });
  const { text, losses } = writeOciMetadata(facts);
  assert.deepEqual(losses, []);
  assert.deepEqual(JSON.parse(text), exported);
});

test('the text, its bytes and the parsed document read the same', () => {
  const text = JSON.stringify(exported);
  assert.deepEqual(readOciMetadata(Buffer.from(text)), readOciMetadata(text));
  assert.deepEqual(readOciMetadata(JSON.parse(text)), readOciMetadata(text));
});

test('what is written is read back as the same machine', () => {
  fc.assert(
    fc.property(ociFacts, (machine) => {
      const { text, losses } = writeOciMetadata(machine);
      assert.deepEqual(losses, []);
      assert.deepEqual(readOciMetadata(text), { facts: machine, warnings: [] });
    }),
    { numRuns: 300 },
  );
});

test('whatever a document says, writing what was read loses nothing more', () => {
  const value = fc.jsonValue({ maxDepth: 2 }).map(withoutBackslashes);
  const known = (names: readonly string[]) =>
    fc.record(Object.fromEntries(names.map((name) => [name, fc.oneof(value, fc.string(), fc.nat())])), {
      requiredKeys: [],
    });
  const documents = fc.record(
    {
      version: fc.oneof(fc.constant(2), value),
      externalLaunchOptions: fc.oneof(known(Object.keys(exported.externalLaunchOptions)), value),
      imageCapabilityData: fc.oneof(
        known(['capabilities', 'more']).map((object) => JSON.stringify(object)),
        known(['capabilities', 'more']),
        value,
      ),
      imageCapsFormatVersion: value,
      operatingSystem: value,
      operatingSystemVersion: value,
      additionalMetadata: fc.oneof(
        fc.record({
          shapeCompatibilities: fc.oneof(
            fc.array(fc.oneof(known(['internalShapeName', 'ocpuConstraints', 'memoryConstraints']), value)),
            value,
          ),
        }),
        value,
      ),
      added: value,
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(documents, (document) => {
      const first = read(document);
      const { text, losses } = writeOciMetadata(first.facts);
      // Beside capabilities that are none, there is nothing to stand beside.
      assert.deepEqual(
        losses.filter(({ field }) => !field.endsWith('.imageCapabilityData')),
        [],
      );
      if (losses.length === 0) assert.deepEqual(readOciMetadata(text).facts, first.facts);
    }),
    { numRuns: 500 },
  );
});

test('of any machine, each field is in the document or in the losses', () => {
  fc.assert(
    fc.property(machines, (machine) => {
      const { text, losses } = writeOciMetadata(machine);
      const { facts: kept } = readOciMetadata(text);
      for (const [field, value] of Object.entries(machine)) {
        if (losses.some((loss) => loss.field.startsWith(field))) continue;
        // The document says the firmware of the machine among the launch options.
        const also = field === 'launchOptions' ? { firmware: kept.launchOptions?.firmware } : {};
        const expected = Array.isArray(value) || typeof value !== 'object' ? value : { ...also, ...value };
        assert.deepEqual(kept[field as keyof MachineFacts], expected, field);
      }
      for (const { field, value, why } of losses) {
        assert.ok(why.length > 0);
        if (Object.hasOwn(machine, field)) assert.deepEqual(value, machine[field as keyof MachineFacts]);
      }
    }),
  );
});

test('the capabilities are read in every form that archives hold them in', () => {
  const base = { version: 2, externalLaunchOptions: {} };
  for (const held of [
    JSON.stringify({ capabilities }),
    { capabilities },
    capabilities,
    JSON.stringify(capabilities),
  ]) {
    assert.deepEqual(read({ ...base, imageCapabilityData: held }), {
      facts: { imageCapabilities: { capabilities } },
      warnings: [],
    });
  }
  for (const held of [null, '', undefined]) {
    assert.deepEqual(read({ ...base, imageCapabilityData: held }), { facts: {}, warnings: [] });
  }
  const deep = `${'['.repeat(40)}${']'.repeat(40)}`;
  for (const held of ['{', '[]', deep, 7, [], { capabilities: 'none' }]) {
    const { facts: kept, warnings } = read({ ...base, imageCapabilityData: held });
    assert.deepEqual(kept, {});
    assert.equal(warnings.length, 1, JSON.stringify(held));
  }
});

test('a field of another type is left away with a warning that shows it', () => {
  const odd = read({
    version: '1.0',
    externalLaunchOptions: {
      firmware: 7,
      networkType: 'x'.repeat(300),
      pvAttachmentVersion: '2',
      pvEncryptionInTransitEnabled: 'yes',
      consistentVolumeNamingEnabled: true,
    },
    operatingSystem: ['Linux'],
    additionalMetadata: {
      shapeCompatibilities: [
        'VM.Standard2.1',
        {
          internalShapeName: 'VM.Standard3.Flex',
          ocpuConstraints: '1-32',
          memoryConstraints: { minInGBs: '1' },
        },
      ],
    },
  });
  assert.deepEqual(odd.facts, {
    launchOptions: { isConsistentVolumeNamingEnabled: true },
    shapeCompatibilities: [
      {
        shape: 'VM.Standard3.Flex',
        foreign: { ocpuConstraints: '1-32', memoryConstraints: { minInGBs: '1' } },
      },
    ],
  });
  assert.equal(odd.warnings.length, 9, odd.warnings.join('\n'));
  assert.ok(odd.warnings.some((warning) => warning.includes('firmware is no short text: 7')));
  assert.deepEqual(read({}).facts, {});
  assert.equal(read({}).warnings.length, 2);
});

test('a document that no reader takes is not read and not written', () => {
  for (const text of ['', '[]', '{']) assert.throws(() => readOciMetadata(text), { code: 'IMAGE_MALFORMED' });
  assert.throws(() => readOciMetadata(`{"a":${'['.repeat(40)}`), { code: 'IMAGE_LIMIT' });
  assert.throws(() => writeOciMetadata({ foreign: { 'oci-metadata': { long: 'x'.repeat(2 ** 20) } } }), {
    code: 'IMAGE_LIMIT',
  });
  const nested = JSON.parse(`${'{"a":'.repeat(40)}1${'}'.repeat(40)}`);
  assert.throws(() => writeOciMetadata({ imageCapabilities: { capabilities: nested } }), {
    code: 'IMAGE_LIMIT',
  });
});

test('a machine of another kind loses by name what the document cannot say', () => {
  const { text, losses } = writeOciMetadata({
    name: 'web',
    cpuCount: 4,
    firmware: 'bios',
    guestOs: { family: 'windows', name: 'Oracle Linux' },
    launchOptions: { firmware: 'UEFI_64', pvAttachmentVersion: Number.NaN, networkType: '' },
    shapeCompatibilities: [{ shape: '' }],
    foreign: { libvirt: { a: 1 }, 'oci-metadata': { version: 3, imageCapabilityData: { x: 1 } } },
  });
  assert.deepEqual(losses.map(({ field }) => field).sort(), [
    'cpuCount',
    'firmware',
    'foreign.libvirt',
    'foreign.oci-metadata.imageCapabilityData',
    'foreign.oci-metadata.version',
    'guestOs.family',
    'launchOptions.networkType',
    'launchOptions.pvAttachmentVersion',
    'name',
    'shapeCompatibilities[0]',
  ]);
  assert.equal(readOciMetadata(text).facts.firmware, 'uefi');
  assert.equal(readOciMetadata(writeOciMetadata({ firmware: 'uefi' }).text).facts.firmware, 'uefi');
});

test('launch options, capabilities and shapes come unchanged through an archive', async () => {
  const disk = await openDisk(memorySource(new Uint8Array(2 ** 20).fill(7)), {
    format: 'raw',
    references: denyReferences,
  });
  const sink = memorySink();
  const { text } = writeOciMetadata(facts);
  await convert(disk, sink, { format: 'oci', options: { metadata: text } });
  const archive = await openDisk(memorySource(sink.bytes()), { references: denyReferences });
  const { metadata } = archive.details;
  assert.deepEqual(readOciMetadata(metadata as Parameters<typeof readOciMetadata>[0]), {
    facts,
    warnings: [],
  });
});
