import { isDelta } from '../../formats/vmdk/descriptor.ts';
import { type Rule, rule } from '../profile.ts';
import type { SparseFacts, VmdkFacts } from './vmdk-facts.ts';

const HEADER = 'VMDK sparse header';
const DESCRIPTOR = 'VMDK descriptor';
const NIL_UUID = '00000000-0000-0000-0000-000000000000';
/** Of compressed grains of 64 KiB: what their readers' buffers hold. */
const BUFFERED_GRAIN_SECTORS = 128;

function sparseRule(
  id: string,
  structure: string,
  problem: (sparse: SparseFacts) => string | undefined,
  offsetBytes?: number,
): Rule<VmdkFacts> {
  return rule(
    id,
    structure,
    ({ sparse }) => (sparse === undefined ? undefined : problem(sparse)),
    () => offsetBytes,
  );
}

export const oneSparseFile: Rule<VmdkFacts> = rule(
  'vmdk-one-file',
  'VMDK file',
  ({ kind, sparse, descriptor }) => {
    if (kind !== 'sparse') return `the file is a ${kind} of a disk that is not one file`;
    if (sparse === undefined) return 'the file is a descriptor alone';
    if (descriptor === undefined) return 'the file has no descriptor: it may be a part of a disk';
    return descriptor.extents.length > 1 ? `the disk has ${descriptor.extents.length} extents` : undefined;
  },
);

export const noParent: Rule<VmdkFacts> = rule('vmdk-parent', DESCRIPTOR, ({ descriptor }) =>
  descriptor !== undefined && isDelta(descriptor) ? 'the disk is a delta of another one' : undefined,
);

export const streamOptimized: Rule<VmdkFacts> = rule('vmdk-stream', 'VMDK file', ({ sparse }) =>
  sparse?.header.compressed === true ? undefined : 'the file is not streamOptimized',
);

/** A descriptor with flat extents, or a stream. */
export const streamOrDatastore: Rule<VmdkFacts> = rule(
  'vmdk-stream',
  'VMDK file',
  ({ sparse, descriptor }) => {
    if (sparse !== undefined) return sparse.header.compressed ? undefined : 'the file is not streamOptimized';
    const createType = descriptor?.value('createType') ?? '';
    if (createType.toLowerCase() === 'vmfs') return undefined;
    return `the file is neither streamOptimized nor the descriptor of a vmfs disk, but ${createType || 'something else'}`;
  },
);

export const flatExtents: Rule<VmdkFacts> = rule('vmdk-extents', DESCRIPTOR, ({ kind, descriptor }) => {
  if (kind !== 'descriptor') return undefined;
  const other = descriptor?.extents.find(({ type }) => type !== 'VMFS');
  return other === undefined ? undefined : `an extent is of the type ${other.type}, not VMFS`;
});

export const versionOneOrThree: Rule<VmdkFacts> = sparseRule(
  'vmdk-version',
  HEADER,
  ({ header: { version } }) =>
    version === 1 || version === 3 ? undefined : `the version is ${version}, not 1 or 3`,
  4,
);

export const streamVersionThree: Rule<VmdkFacts> = sparseRule(
  'vmdk-version',
  HEADER,
  ({ header: { version, compressed } }) =>
    compressed && version !== 3 ? `the version of the stream is ${version}, not 3` : undefined,
  4,
);

export const oneDirectory: Rule<VmdkFacts> = sparseRule(
  'vmdk-one-directory',
  HEADER,
  ({ header }) =>
    header.compressed && header.redundantDirectorySector !== undefined
      ? 'a stream has a redundant grain directory'
      : undefined,
  48,
);

export const equalDirectories: Rule<VmdkFacts> = sparseRule(
  'vmdk-directories',
  'VMDK redundant grain directory',
  ({ copiesAgree }) => (copiesAgree ? undefined : 'the redundant directory, or a table of it, differs'),
);

export const usualGrains: Rule<VmdkFacts> = sparseRule(
  'vmdk-grain-size',
  HEADER,
  ({ header: { grainSectors, tableEntryCount } }) => {
    if (grainSectors > BUFFERED_GRAIN_SECTORS) return `grains of ${grainSectors} sectors are above 128`;
    return tableEntryCount === 512 ? undefined : `grain tables have ${tableEntryCount} entries, not 512`;
  },
  20,
);

export const streamEnd: Rule<VmdkFacts> = sparseRule(
  'vmdk-stream-end',
  'VMDK end-of-stream marker',
  ({ hasStreamEnd }) => (hasStreamEnd ? undefined : 'no end-of-stream marker follows the last grain'),
);

export const wholeLastGrain: Rule<VmdkFacts> = sparseRule(
  'vmdk-last-grain',
  'VMDK compressed grain',
  ({ lastGrainIsWhole }) => (lastGrainIsWhole ? undefined : 'the last grain of the disk is not a whole one'),
);

export const orderedGrains: Rule<VmdkFacts> = {
  id: 'vmdk-grain-order',
  breach: ({ sparse }) =>
    sparse?.header.compressed === true
      ? sparse.unordered.breach('VMDK grain table', 'grains stand before one of a lower place on the disk')
      : undefined,
};

export const shortRecords: Rule<VmdkFacts> = {
  id: 'vmdk-grain-record',
  breach: ({ sparse }) =>
    sparse?.longRecords.breach(
      'VMDK compressed grain',
      'compressed grains are longer than a grain and a sector',
    ),
};

export const ownDescriptor: Rule<VmdkFacts> = rule(
  'vmdk-descriptor',
  DESCRIPTOR,
  ({ descriptor, sparse }) => {
    if (descriptor === undefined) return 'there is no descriptor';
    const createType = descriptor.value('createType')?.toLowerCase();
    if (sparse?.header.compressed === true && createType !== 'streamoptimized') {
      return `createType is ${createType ?? 'absent'}, not streamOptimized`;
    }
    const cid = descriptor.value('CID') ?? '';
    if (!/^[0-9a-f]{1,8}$/i.test(cid)) return `CID ${JSON.stringify(cid.slice(0, 20))} is no hexadecimal id`;
    return Number.parseInt(cid, 16) >= 0xfffffffe ? `CID ${cid} means that there is none` : undefined;
  },
);

export const knownAdapter: Rule<VmdkFacts> = rule('vmdk-adapter', DESCRIPTOR, ({ descriptor }) => {
  const adapter = descriptor?.value('ddb.adapterType')?.toLowerCase();
  if (adapter === undefined) return 'the descriptor has no ddb.adapterType';
  const isKnown = ['lsilogic', 'buslogic', 'ide', 'legacyesx', 'pvscsi'].includes(adapter);
  return isKnown ? undefined : `ddb.adapterType is ${JSON.stringify(adapter.slice(0, 40))}`;
});

export const ownUuids: Rule<VmdkFacts> = rule('vmdk-uuids', DESCRIPTOR, ({ descriptor }) => {
  for (const role of ['image', 'modification', 'parent', 'parentmodification']) {
    const uuid = descriptor?.value(`ddb.uuid.${role}`);
    if (uuid === undefined) return `the descriptor has no ddb.uuid.${role}`;
    if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(uuid)) return `ddb.uuid.${role} is no UUID`;
    const isOwn = role === 'image' || role === 'modification';
    if (isOwn === (uuid === NIL_UUID)) {
      return isOwn ? `ddb.uuid.${role} is null` : `ddb.uuid.${role} names a parent`;
    }
  }
  return undefined;
});

/** Its first line, then keys, extents and the disk's database, each line from the first column on. */
export const plainDescriptor: Rule<VmdkFacts> = rule(
  'vmdk-descriptor-lines',
  DESCRIPTOR,
  ({ descriptorText }) => {
    const lines = descriptorText.split('\n').map((line) => line.replace(/\r$/, ''));
    if (!/^# ?Disk Descriptor ?File$/.test(lines[0] ?? '')) {
      return 'the first line is not "# Disk DescriptorFile"';
    }
    let section = 0;
    for (const [index, line] of lines.entries()) {
      if (line === '' || line.startsWith('#')) continue;
      if (/^\s/.test(line)) return `line ${index + 1} is indented`;
      const own = line.startsWith('ddb.') ? 2 : /^(RW|RDONLY|NOACCESS) /.test(line) ? 1 : 0;
      if (own < section) return `line ${index + 1} stands behind the part that it belongs to`;
      section = own;
    }
    return section === 0 ? 'the descriptor has no extent' : undefined;
  },
);
