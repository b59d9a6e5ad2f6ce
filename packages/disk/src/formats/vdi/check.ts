import type { ByteSource } from '../../io/byte-source.ts';
import { Findings } from '../findings.ts';
import type { CheckReport, OpenOptions } from '../format.ts';
import { MAP_STRUCTURE, VdiBlockMap } from './block-map.ts';
import { HEADER_STRUCTURE, headerWarnings, NULL_UUID, type VdiHeader } from './header.ts';
import { isChild, readUsableHeader } from './reader.ts';

/**
 * Looks through the header and the whole block map. Throws, like opening, when the header cannot be used.
 * No parent is asked for: another file is another check.
 */
export async function checkVdi(source: ByteSource, options: OpenOptions): Promise<CheckReport> {
  const header = await readUsableHeader(source, options.signal);
  const map = new VdiBlockMap(source, header);
  const findings = new Findings();
  for (const warning of headerWarnings(header)) findings.add('warning', HEADER_STRUCTURE, warning, 0);
  if (isChild(header) && header.uuidLinkage === NULL_UUID) {
    const message = `an image of type ${header.type} names no parent`;
    findings.add('corruption', HEADER_STRUCTURE, message, header.places.uuidLinkage);
  }
  for await (const { message, offsetBytes } of map.damage(options.signal)) {
    findings.add('corruption', MAP_STRUCTURE, message, offsetBytes);
  }
  checkAllocation(header, await map.usage(options.signal), source.lengthBytes, findings);
  return findings.report('vdi');
}

function checkAllocation(
  header: VdiHeader,
  { storedCount, endPosition }: { readonly storedCount: number; readonly endPosition: number },
  fileLengthBytes: number,
  findings: Findings,
): void {
  const { allocatedCount, blockBytes, blockExtraBytes, dataOffsetBytes, places } = header;
  if (endPosition > allocatedCount) {
    // VirtualBox puts the next new block at position cBlocksAllocated.
    const message = `cBlocksAllocated is ${allocatedCount}, but positions up to ${endPosition - 1} are used: the next write would go over one of them`;
    findings.add('corruption', HEADER_STRUCTURE, message, places.cBlocksAllocated);
  }
  if (storedCount < allocatedCount) {
    const message = `cBlocksAllocated is ${allocatedCount}, but ${storedCount} blocks are in the map`;
    findings.add('leak', HEADER_STRUCTURE, message, places.cBlocksAllocated);
  }
  const end = dataOffsetBytes + Math.max(endPosition, allocatedCount) * (blockBytes + blockExtraBytes);
  if (fileLengthBytes > end) {
    findings.add('leak', 'VDI data area', `${fileLengthBytes - end} bytes follow the last block`, end);
  }
}
