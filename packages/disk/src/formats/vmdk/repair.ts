import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { repairedSource } from '../../repair/repaired-source.ts';
import type { OpenOptions, RepairPlan } from '../format.ts';
import { checkVmdk } from './check.ts';
import { readSparseHeader, type SparseHeader } from './header.ts';
import { readKind } from './kind.ts';
import { type Patch, rebuildTables } from './rebuild-tables.ts';
import { soundTables, tablesAgree } from './sound-tables.ts';

const UNCLEAN_BYTES = 72;

interface Planned {
  readonly actions: string[];
  readonly patches: readonly Patch[];
}

/**
 * Plans the repair of an extent of one file: the copy of its directory and tables that is damaged is written again
 * from the one that is sound, and the mark of an unclean shutdown goes when nothing else is wrong. Throws
 * IMAGE_UNSUPPORTED for a descriptor, whose extents are repaired each by itself.
 */
export async function repairVmdk(source: ByteSource, options: OpenOptions): Promise<RepairPlan> {
  const kind = await readKind(source, options.signal);
  if (kind === 'descriptor') {
    throw new ImageError('IMAGE_UNSUPPORTED', `${source.name} is a descriptor: it has no tables to repair`, {
      structure: 'VMDK descriptor',
      hint: 'repair the extent files that it names, each by itself',
    });
  }
  if (kind !== 'sparse') return finish(source, { actions: [], patches: [] }, options);
  const header = await readSparseHeader(source, options.signal);
  const tables = await planTables(source, header, options.signal);
  const plan = await finish(source, tables, options);
  if (!header.uncleanShutdown || plan.remaining.length > 0) return plan;
  return {
    ...plan,
    actions: [...plan.actions, 'the mark of an unclean shutdown (uncleanShutdown) is cleared'],
    patches: [{ offsetBytes: UNCLEAN_BYTES, bytes: new Uint8Array(1) }, ...plan.patches],
  };
}

async function planTables(
  source: ByteSource,
  header: SparseHeader,
  signal: AbortSignal | undefined,
): Promise<Planned> {
  const none = { actions: [], patches: [] };
  const { directorySector, redundantDirectorySector } = header;
  // Of compressed files only the one directory is read, by anybody.
  if (header.compressed || header.capacitySectors === 0) return none;
  if (directorySector === undefined || redundantDirectorySector === undefined) return none;
  const sound = await soundTables(source, header, directorySector, signal);
  if (sound !== undefined) {
    const patches = await rebuildTables(source, header, sound, redundantDirectorySector, signal);
    return planned('the redundant grain directory and its tables are', 'the grain directory', patches);
  }
  const redundant = await soundTables(source, header, redundantDirectorySector, signal);
  if (redundant === undefined) return none;
  // The other copy is taken only where it says the same of all that is not damaged.
  if (!(await tablesAgree(source, header, redundant, directorySector, signal))) return none;
  const patches = await rebuildTables(source, header, redundant, directorySector, signal);
  return planned('the grain directory and its tables are', 'the redundant one', patches);
}

function planned(what: string, from: string, patches: readonly Patch[] | undefined): Planned {
  if (patches === undefined || patches.length === 0) return { actions: [], patches: [] };
  return { actions: [`${what} written again from ${from}`], patches };
}

/** Looks at what the patches make of the file: what is still wrong remains. */
async function finish(
  source: ByteSource,
  { actions, patches }: Planned,
  options: OpenOptions,
): Promise<RepairPlan> {
  const plan = { format: 'vmdk', actions, patches, remaining: [], lengthBytes: source.lengthBytes };
  const { findings } = await checkVmdk(repairedSource(source, plan), options);
  const remaining = findings
    .filter(({ severity }) => severity !== 'warning')
    .map(({ structure, message }) => `${structure}: ${message}`);
  return { ...plan, remaining };
}
