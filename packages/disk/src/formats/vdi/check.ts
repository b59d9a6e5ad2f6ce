import type { ByteSource } from '../../io/byte-source.ts';
import { Findings } from '../findings.ts';
import type { CheckReport, OpenOptions } from '../format.ts';
import { MAP_STRUCTURE, VdiBlockMap } from './block-map.ts';
import { HEADER_STRUCTURE, headerWarnings, type VdiHeader } from './header.ts';
import { readBaseHeader } from './reader.ts';

/** Looks through the header and the whole block map. Throws, like opening, when the header cannot be used. */
export async function checkVdi(source: ByteSource, options: OpenOptions): Promise<CheckReport> {
  const header = await readBaseHeader(source, options);
  const map = await VdiBlockMap.read(source, header, options.signal);
  const findings = new Findings();
  for (const warning of headerWarnings(header)) findings.add('warning', HEADER_STRUCTURE, warning, 0);
  for (const { message, offsetBytes } of map.damage(source.lengthBytes)) {
    findings.add('corruption', MAP_STRUCTURE, message, offsetBytes);
  }
  checkAllocation(header, map, source.lengthBytes, findings);
  return findings.report('vdi');
}

function checkAllocation(
  header: VdiHeader,
  map: VdiBlockMap,
  fileLengthBytes: number,
  findings: Findings,
): void {
  const { allocatedCount, blockBytes, blockExtraBytes, dataOffsetBytes } = header;
  const { storedCount, endPosition } = map.usage();
  if (endPosition > allocatedCount) {
    // VirtualBox puts the next new block at position cBlocksAllocated.
    const message = `cBlocksAllocated is ${allocatedCount}, but positions up to ${endPosition - 1} are used: the next write would go over one of them`;
    findings.add('corruption', HEADER_STRUCTURE, message, 388);
  }
  if (storedCount < allocatedCount) {
    const message = `cBlocksAllocated is ${allocatedCount}, but ${storedCount} blocks are in the map`;
    findings.add('leak', HEADER_STRUCTURE, message, 388);
  }
  const end = dataOffsetBytes + Math.max(endPosition, allocatedCount) * (blockBytes + blockExtraBytes);
  if (fileLengthBytes > end) {
    findings.add('leak', 'VDI data area', `${fileLengthBytes - end} bytes follow the last block`, end);
  }
}
