import { type ByteSource, type Disk, ImageError } from '@gantry/disk';
import { Budget } from '../budget.ts';
import { diskBytes } from '../disk-bytes.ts';
import type { FileRun } from '../files/file-system.ts';
import { GuestFiles } from '../files/guest-files.ts';
import { recogniseFileSystem } from '../files/recognise.ts';
import { Findings } from '../findings.ts';
import { type GuestLimits, usualLimits } from '../limits.ts';
import { type DiskContent, findVolumes } from '../volumes/find.ts';
import type { FilledVolume } from '../volumes/volume.ts';
import { type ByteChange, changesOnDisk } from './byte-changes.ts';
import { CLOCK_KEY, CLOCK_VALUE, clockKey, controlSetName, controlSets } from './clock.ts';
import { Hive } from './hive.ts';
import { dwordChanges } from './hive-edit.ts';
import { HIBERNATION_FILE, holdsSession, SYSTEM_HIVE } from './windows.ts';

export interface ClockRepairOptions {
  /** The number of the partition of the Windows that is meant, where there are several. */
  readonly partition?: number | undefined;
  /** When the key says that it was changed, in milliseconds since 1970. Default: now. */
  readonly timeMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Default: as those of an inspection. */
  readonly limits?: Partial<GuestLimits> | undefined;
}

/** What makes a Windows take the hardware clock for UTC. */
export interface ClockRepair {
  /** `partition 2`, `the whole disk`. */
  readonly where: string;
  /** `ControlSet001`. */
  readonly controlSet: string;
  /** Of the disk, in the order in which they are made; none when it is so already. */
  readonly changes: readonly ByteChange[];
}

interface FoundWindows {
  readonly volume: FilledVolume;
  readonly files: GuestFiles;
  /** What speaks against writing there. */
  readonly findings: Findings;
}

/**
 * Plans the changes of a disk that set `RealTimeIsUniversal` to the DWORD 1 for the Windows on it. Reads only. The
 * changes keep to what the file of the registry has already: nothing becomes longer, no table of the file system is
 * touched. Throws ImageError, with what to do: IMAGE_UNSUPPORTED where it cannot be done safely (hibernated, not
 * unmounted, registry with logs to be replayed, file not stored as it is, no room, encrypted, no Windows in NTFS),
 * IMAGE_AMBIGUOUS for several Windows of which none was chosen, IMAGE_MALFORMED for what is damaged, IMAGE_LIMIT.
 */
export async function planClockRepair(disk: Disk, options: ClockRepairOptions = {}): Promise<ClockRepair> {
  const { partition, timeMs = Date.now(), signal, limits } = options;
  const budget = new Budget({ ...usualLimits, ...limits }, signal);
  const content = await findVolumes(diskBytes(disk, budget), budget, new Findings());
  const { volume, files, findings } = await chosenWindows(content, partition, budget);
  const { where } = volume;
  await requireAtRest(where, files, findings);
  const { file, runs } = await storedHive(where, files);
  const hive = await Hive.open(file, budget);
  const controlSet = await startedControlSet(hive, where);
  const key = await clockKey(hive, controlSet);
  if (key === undefined)
    throw refused(where, `${controlSet} has no ${CLOCK_KEY}`, 'set the time zone in Windows');
  const edit = { key, keyName: CLOCK_KEY, name: CLOCK_VALUE, number: 1, timeMs };
  const changes = await dwordChanges(hive, edit, budget);
  const startBytes = volumeStart(volume);
  const place = { runs, startBytes, lengthBytes: volume.bytes.lengthBytes };
  return { where, controlSet, changes: changesOnDisk(changes, place, SYSTEM_HIVE) };
}

async function chosenWindows(
  { volumes }: DiskContent,
  partition: number | undefined,
  budget: Budget,
): Promise<FoundWindows> {
  const asked = volumes.filter(
    ({ partitionNumber }) => partition === undefined || partitionNumber === partition,
  );
  const found: FoundWindows[] = [];
  let damage: ImageError | undefined;
  for (const volume of asked) {
    if (volume.content.kind !== 'ntfs') continue;
    // What is found on other volumes says nothing about this one.
    const findings: Findings = new Findings();
    try {
      const files = await openFiles(volume, budget, findings);
      if (files !== undefined && (await files.has(SYSTEM_HIVE))) found.push({ volume, files, findings });
    } catch (error) {
      findings.rethrowUnlessImage(error);
      damage ??= error;
    }
  }
  const [windows, ...others] = found;
  if (windows === undefined) throw damage ?? noWindows(asked, partition);
  if (others.length === 0) return windows;
  const places = found.map(({ volume }) => volume.where).join(', ');
  throw new ImageError('IMAGE_AMBIGUOUS', `there are several Windows: ${places}`, {
    structure: 'guest',
    hint: 'choose one by the number of its partition',
  });
}

async function openFiles(
  { bytes, where }: FilledVolume,
  budget: Budget,
  findings: Findings,
): Promise<GuestFiles | undefined> {
  const recognised = await recogniseFileSystem(bytes, budget, where, findings);
  const system = await recognised?.open?.();
  return system && new GuestFiles(new Map([['/', system]]));
}

function noWindows(volumes: readonly FilledVolume[], partition: number | undefined): ImageError {
  const encrypted = volumes.find(({ content }) => content.isEncrypted === true);
  if (encrypted !== undefined) {
    const { where, content } = encrypted;
    return refused(
      where,
      `it is encrypted (${content.kind})`,
      'set the value in Windows, or suspend and remove BitLocker before the disk is copied (manage-bde -off C:)',
    );
  }
  const where = partition === undefined ? 'the disk' : `partition ${partition}`;
  return refused(
    where,
    'no Windows is on it whose registry could be read (its file system has to be NTFS)',
    'look at what is there with gantry disk inspect',
  );
}

/** Throws for a Windows that is to go on, or to repair something, before anybody else writes. */
async function requireAtRest(where: string, files: GuestFiles, findings: Findings): Promise<void> {
  const [finding] = findings.list;
  if (finding !== undefined)
    throw refused(where, finding.message, finding.hint ?? 'let Windows check the disk (chkdsk /f)');
  if (await holdsSession(files)) {
    throw refused(
      where,
      `Windows is hibernated, or was shut down for a fast startup: ${HIBERNATION_FILE} holds a session, which goes on with the registry that it knows`,
      'start it, shut it down with shutdown /s /f /t 0 or powercfg /h off, and copy the disk then',
    );
  }
}

/** The registry's file, with where it stands. Throws IMAGE_UNSUPPORTED where it does not stand there as it is. */
async function storedHive(
  where: string,
  files: GuestFiles,
): Promise<{ file: ByteSource; runs: readonly FileRun[] }> {
  const hint = 'set the value in Windows itself';
  try {
    const file = await files.open(SYSTEM_HIVE, Number.MAX_SAFE_INTEGER);
    const runs = await files.runs(SYSTEM_HIVE);
    if (file !== undefined && runs !== undefined) return { file, runs };
  } catch (error) {
    if (!(error instanceof ImageError) || error.code !== 'IMAGE_UNSUPPORTED') throw error;
    throw refused(where, `${SYSTEM_HIVE}: ${error.message}`, hint);
  }
  throw refused(where, `${SYSTEM_HIVE} is no file`, hint);
}

async function startedControlSet(hive: Hive, where: string): Promise<string> {
  const { current, next } = await controlSets(hive);
  const hint = 'start Windows once, shut it down (shutdown /s /f /t 0), and copy the disk then';
  if (current === undefined)
    throw refused(where, 'its registry does not say which control set is used', hint);
  if (next !== undefined && next !== current) {
    const names = [current, next].map(controlSetName);
    throw refused(where, `Windows ran with ${names[0]} and is to start with ${names[1]}`, hint);
  }
  return controlSetName(current);
}

/** Where a volume begins on the disk. Throws IMAGE_UNSUPPORTED for a logical volume. */
function volumeStart({ bytes, where, logicalName }: FilledVolume): number {
  if (logicalName !== undefined)
    throw refused(where, 'it is a logical volume', 'set the value in Windows itself');
  return bytes.within?.offsetBytes ?? 0;
}

function refused(where: string, message: string, hint: string): ImageError {
  return new ImageError('IMAGE_UNSUPPORTED', `${where}: ${message}`, { structure: where, hint });
}
