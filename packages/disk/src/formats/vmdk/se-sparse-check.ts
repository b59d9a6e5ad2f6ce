import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { BitClaims } from './grain-claims.ts';
import type { PartFindings } from './part-findings.ts';
import { readSeSparseHeader } from './se-sparse.ts';
import { SeSparseTables } from './se-sparse-tables.ts';

const TABLE = 'VMDK seSparse grain table';

/** Looks at every grain that the tables of a seSparse extent name. */
export async function checkSeSparse(
  source: ByteSource,
  findings: PartFindings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const header = await readSeSparseHeader(source, signal);
  const tables = await SeSparseTables.open(source, header, signal);
  const claims = new BitClaims();
  const { grainSectors, tableEntryCount } = tables;
  for (let index = 0; index * tableEntryCount * grainSectors < header.capacitySectors; index++) {
    signal?.throwIfAborted();
    const table = await tables.table(index, signal);
    for (const [entry, sector] of table?.entries() ?? []) {
      if (sector === 0 || tables.isZeroed(sector)) continue;
      const grain = index * tableEntryCount + entry;
      const lengthSectors = Math.min(grainSectors, header.capacitySectors - grain * grainSectors);
      if (lengthSectors <= 0) {
        findings.add('leak', TABLE, `grain ${grain} lies beyond the end of the disk`);
        continue;
      }
      const problem = tables.placeProblem(sector, lengthSectors * SECTOR_BYTES, index, entry);
      if (problem !== undefined) {
        findings.add('corruption', TABLE, `grain ${grain}: ${problem.message}`, problem.offsetBytes);
      } else if (!claims.claim((sector - header.grains.start) / grainSectors)) {
        findings.add(
          'corruption',
          TABLE,
          `grain ${grain} shares its place with another, at sector ${sector}`,
        );
      }
    }
  }
}
