import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import { type ByteSource, requireInside } from '../../io/byte-source.ts';
import { Findings } from '../findings.ts';
import type { CheckReport, OpenOptions } from '../format.ts';
import { readCowdHeader } from './cowd.ts';
import { openParent, requireExtents, resolveExtent } from './described-disk.ts';
import type { Descriptor, DescriptorExtent } from './descriptor.ts';
import {
  descriptorWarnings,
  type EmbeddedExtent,
  embeddedWarnings,
  isLoneExtent,
  isWholeDisk,
  readDescriptorFile,
  readEmbedded,
  readTableHeader,
  requireSectors,
  uncleanWarnings,
} from './extent.ts';
import { readSparseHeader, type SparseHeader } from './header.ts';
import { readKind } from './kind.ts';
import { requireExtentCapacity, requireKind } from './open-part.ts';
import { addDamage, findingsIn, type PartFindings } from './part-findings.ts';
import { readSeSparseHeader } from './se-sparse.ts';
import { checkSeSparse } from './se-sparse-check.ts';
import { checkSparse } from './sparse-check.ts';

const EXTENT = 'VMDK sparse extent';

/**
 * Looks at the descriptor and, in every file of the disk, at the header, the footer, both directories, all
 * tables and, of compressed grains, the markers. The grains' data is not read. Throws for a file that is not
 * this format or is refused. A parent is opened, for its CID, and not checked itself.
 */
export async function checkVmdk(source: ByteSource, options: OpenOptions): Promise<CheckReport> {
  const findings = new Findings();
  try {
    await checkFile(source, findings, options);
  } catch (error) {
    addDamage(findings, error);
  }
  return findings.report('vmdk');
}

async function checkFile(source: ByteSource, findings: Findings, options: OpenOptions): Promise<void> {
  const { signal } = options;
  const kind = await readKind(source, signal);
  if (kind === 'descriptor') {
    return checkDescribed(source, await readDescriptorFile(source, signal), findings, options);
  }
  if (kind !== 'sparse') return checkLone(source, kind, findings, signal);
  const embedded = await readEmbedded(source, signal);
  const { descriptor } = embedded;
  if (descriptor !== undefined && !isWholeDisk(embedded)) {
    return checkDescribed(source, descriptor, findings, options);
  }
  await checkWhole(source, embedded, findings, options);
}

async function checkWhole(
  source: ByteSource,
  embedded: EmbeddedExtent,
  findings: Findings,
  options: OpenOptions,
): Promise<void> {
  if (isLoneExtent(embedded)) return checkLone(source, 'sparse', findings, options.signal);
  requireSectors(embedded);
  for (const warning of embeddedWarnings(embedded)) findings.add('warning', EXTENT, warning);
  const parent = await openParent(source, embedded.descriptor, options);
  await parent?.close();
  await checkExtent(source, embedded.header, findings, options.signal);
}

async function checkExtent(
  source: ByteSource,
  header: SparseHeader,
  findings: PartFindings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const hasFooter = header.directorySector === undefined;
  await checkSparse(source, await readTableHeader(source, header, signal), hasFooter, findings, signal);
}

async function checkDescribed(
  source: ByteSource,
  descriptor: Descriptor,
  findings: Findings,
  options: OpenOptions,
): Promise<void> {
  requireExtents(descriptor);
  for (const warning of descriptorWarnings(descriptor)) findings.add('warning', 'VMDK descriptor', warning);
  const parent = await openParent(source, descriptor, options);
  await parent?.close();
  for (const extent of descriptor.extents) {
    if (extent.access === 'NOACCESS' || extent.type === 'ZERO') continue;
    const file = await resolveExtent(source, extent, options);
    const inFile = findingsIn(findings, file.name);
    try {
      await checkNamed(file, extent, inFile, options.signal);
    } catch (error) {
      addDamage(inFile, error);
    } finally {
      await file.close();
    }
  }
}

/** One extent of a disk of several files: its structures can be looked at without the others. */
async function checkLone(
  source: ByteSource,
  kind: 'sparse' | 'COWD' | 'seSparse',
  findings: Findings,
  signal: AbortSignal | undefined,
): Promise<void> {
  findings.add('warning', 'VMDK file', 'this is one extent of a disk of several files; only it was checked');
  await checkKind(source, kind, undefined, findings, signal);
}

async function checkNamed(
  source: ByteSource,
  extent: DescriptorExtent,
  findings: PartFindings,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (extent.type === 'FLAT' || extent.type === 'VMFS') {
    const { offsetSectors, sectorCount } = extent;
    return requireInside(
      source,
      offsetSectors * SECTOR_BYTES,
      sectorCount * SECTOR_BYTES,
      'VMDK flat extent',
    );
  }
  await checkKind(source, await requireKind(source, extent, signal), extent, findings, signal);
}

async function checkKind(
  source: ByteSource,
  kind: 'sparse' | 'COWD' | 'seSparse',
  extent: DescriptorExtent | undefined,
  findings: PartFindings,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (kind === 'seSparse') {
    const seSparse = await readSeSparseHeader(source, signal);
    if (extent !== undefined) requireExtentCapacity(seSparse, extent);
    return checkSeSparse(source, findings, signal);
  }
  const header =
    kind === 'COWD' ? await readCowdHeader(source, signal) : await readSparseHeader(source, signal);
  if (extent !== undefined) requireExtentCapacity(header, extent);
  for (const warning of uncleanWarnings(header)) findings.add('warning', EXTENT, warning);
  await checkExtent(source, header, findings, signal);
}
