import type { Architecture } from '../../model.ts';
import { PROGRAM_HEAD_BYTES, programArchitecture } from '../architecture.ts';
import type { Budget } from '../budget.ts';
import type { FileSystem } from '../files/file-system.ts';
import { GuestFiles } from '../files/guest-files.ts';
import type { Findings } from '../findings.ts';
import type {
  Conclusion,
  GuestOperatingSystem,
  WindowsClock,
  WindowsDriver,
  WindowsGuest,
} from '../report.ts';
import type { FilledVolume } from '../volumes/volume.ts';
import { controlSetName, controlSets, windowsClock } from './clock.ts';
import { Hive } from './hive.ts';

const SYSTEM_FOLDER = '/Windows/System32';
const HIVE_FOLDER = `${SYSTEM_FOLDER}/config`;
/** The registry of the machine: drivers, control sets, the time zone. */
export const SYSTEM_HIVE = `${HIVE_FOLDER}/SYSTEM`;
export const HIBERNATION_FILE = '/hiberfil.sys';
const WHOLE_FILE = Number.MAX_SAFE_INTEGER;
/** The first of Windows 11, which still says Windows 10 in its registry. */
const WINDOWS_11_BUILD = 22000;
const driverNames: readonly WindowsDriver['name'][] = ['viostor', 'vioscsi', 'netkvm'];

interface FoundWindows {
  readonly system: GuestOperatingSystem;
  readonly architecture: Conclusion<Architecture> | undefined;
}

/** The Windows whose system drive a file system is; undefined for other file systems. */
export async function inspectWindows(
  root: FilledVolume,
  rootSystem: FileSystem,
  budget: Budget,
  findings: Findings,
): Promise<FoundWindows | undefined> {
  const files = new GuestFiles(new Map([['/', rootSystem]]));
  if (!(await files.has(`${HIVE_FOLDER}/SOFTWARE`))) return undefined;
  const { where } = root;
  const openHive = (name: string) =>
    findings.guard(`${where}: ${HIVE_FOLDER}/${name}`, async () => {
      const file = await files.open(`${HIVE_FOLDER}/${name}`, WHOLE_FILE);
      return file === undefined ? undefined : Hive.open(file, budget);
    });
  const software = await openHive('SOFTWARE');
  const system = await openHive('SYSTEM');
  const version = software && (await findings.guard(`${where}: SOFTWARE`, () => windowsVersion(software)));
  const settings = system && (await findings.guard(`${where}: SYSTEM`, () => machineSettings(system)));
  const isHibernated =
    (await findings.guard(`${where}: ${HIBERNATION_FILE}`, () => holdsSession(files))) ?? false;
  const drivers: WindowsDriver[] = [];
  for (const name of driverNames) {
    const path = `${SYSTEM_FOLDER}/drivers/${name}.sys`;
    const hasFile = (await findings.guard(`${where}: ${path}`, () => files.has(path))) ?? false;
    const startType = settings?.startTypes.get(name);
    drivers.push({ name, hasFile, ...(startType !== undefined && { startType }) });
  }
  const windows: WindowsGuest = {
    ...(version?.build !== undefined && { build: version.build }),
    drivers,
    ...(settings !== undefined && { clock: settings.clock }),
    isHibernated,
  };
  judge(
    windows,
    [software, system].some((hive) => hive?.isDirty === true),
    where,
    findings,
  );
  return {
    system: {
      family: 'windows',
      name: 'Windows',
      ...(version?.name !== undefined && { version: version.name }),
      where,
      reason: `${where}: SOFTWARE says ${version?.said ?? 'nothing that could be read'}`,
      windows,
    },
    architecture: await findings.guard(where, () => kernelArchitecture(files, where)),
  };
}

/** `Server 2022 Standard`, `11 Pro`: the product's name without Windows. */
async function windowsVersion(hive: Hive): Promise<{ name?: string; said: string; build?: string }> {
  const key = await hive.key(['Microsoft', 'Windows NT', 'CurrentVersion']);
  const text = async (name: string) => {
    const value = key && (await hive.value(key, name));
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  const product = await text('ProductName');
  const build = (await text('CurrentBuild')) ?? (await text('CurrentBuildNumber'));
  const isEleven = Number(build) >= WINDOWS_11_BUILD && /^Windows 10\b/.test(product ?? '');
  const name = (isEleven ? product?.replace('10', '11') : product)?.replace(/^(?:Microsoft )?Windows ?/, '');
  return {
    ...(name !== undefined && name !== '' && { name }),
    ...(build !== undefined && { build }),
    said: `${product ?? 'no product name'}, build ${build ?? 'unknown'}`,
  };
}

/** What the control set that was in use says of the machine. */
async function machineSettings(
  hive: Hive,
): Promise<{ clock: WindowsClock; startTypes: ReadonlyMap<string, number> }> {
  const { current = 1 } = await controlSets(hive);
  const set = controlSetName(current);
  const startTypes = new Map<string, number>();
  for (const name of driverNames) {
    const service = await hive.key([set, 'Services', name]);
    const start = service && (await hive.value(service, 'Start'));
    if (typeof start === 'number') startTypes.set(name, start);
  }
  return { clock: await windowsClock(hive, set), startTypes };
}

/** The file is there as a rule; its first bytes say whether a session is kept in it, or was not taken up to its end. */
export async function holdsSession(files: GuestFiles): Promise<boolean> {
  const head = await files.head(HIBERNATION_FILE, 4);
  return /^(?:hibr|rstr)$/i.test(String.fromCharCode(...(head ?? [])));
}

function judge(windows: WindowsGuest, isDirty: boolean, where: string, findings: Findings): void {
  if (windows.isHibernated) {
    findings.add({
      severity: 'warning',
      code: 'WINDOWS_HIBERNATED',
      where,
      message:
        'Windows is hibernated (fast startup does that too): on other hardware the kept session does not go on',
      hint: 'shut it down with shutdown /s /f /t 0 or powercfg /h off, and copy the disk then',
    });
  }
  if (windows.clock !== undefined) judgeClock(windows.clock, where, findings);
  if (isDirty) {
    findings.add({
      severity: 'note',
      code: 'HIVE_DIRTY',
      where,
      message:
        'the registry was not written to its end: its logs hold newer changes, which were not looked at',
    });
  }
}

const CLOCK_HINT =
  'gantry disk set-clock writes an image in which Windows takes it for UTC; in Windows itself, set the DWORD RealTimeIsUniversal to 1 below HKLM\\SYSTEM\\CurrentControlSet\\Control\\TimeZoneInformation';

function judgeClock(clock: WindowsClock, where: string, findings: Findings): void {
  const { holds, controlSet, timeZone } = clock;
  if (holds === 'utc') return;
  const place = { where: `${where}: SYSTEM, ${controlSet}`, severity: 'note' } as const;
  const zone = timeZone === undefined ? '' : ` (${timeZone})`;
  if (holds === 'local') {
    findings.add({
      ...place,
      code: 'WINDOWS_CLOCK_LOCAL',
      message: `Windows takes the hardware clock for local time${zone}: under a hypervisor or cloud whose clock is in UTC its time is wrong after each start`,
      hint: `${CLOCK_HINT}; or give the machine a clock in local time`,
    });
    return;
  }
  findings.add({
    ...place,
    code: 'WINDOWS_CLOCK_UNKNOWN',
    message: `RealTimeIsUniversal is ${valueText(clock)}, and not the DWORD 0 or 1: whether Windows takes the hardware clock for local time${zone} or for UTC is not documented`,
    hint: CLOCK_HINT,
  });
}

function valueText({ valueType, value }: WindowsClock): string {
  return value === undefined ? `a ${valueType}` : String(value);
}

async function kernelArchitecture(
  files: GuestFiles,
  where: string,
): Promise<Conclusion<Architecture> | undefined> {
  const path = `${SYSTEM_FOLDER}/ntoskrnl.exe`;
  const head = await files.head(path, PROGRAM_HEAD_BYTES);
  const value = head === undefined ? undefined : programArchitecture(head);
  return value === undefined ? undefined : { value, reason: `${where}: ${path} is a program for ${value}` };
}
