import type { WindowsClock } from '../report.ts';
import { type Hive, type HiveKey, type HiveValue, REG_DWORD } from './hive.ts';

export const CLOCK_VALUE = 'RealTimeIsUniversal';
export const CLOCK_KEY = 'TimeZoneInformation';
/** As Windows' own tools name the types, by their numbers. */
const typeNames: readonly string[] = [
  'REG_NONE',
  'REG_SZ',
  'REG_EXPAND_SZ',
  'REG_BINARY',
  'REG_DWORD',
  'REG_DWORD_BIG_ENDIAN',
  'REG_LINK',
  'REG_MULTI_SZ',
  'REG_RESOURCE_LIST',
  'REG_FULL_RESOURCE_DESCRIPTOR',
  'REG_RESOURCE_REQUIREMENTS_LIST',
  'REG_QWORD',
];

/** The number of the control set that Windows ran with, and of the one that it starts with. */
export async function controlSets(hive: Hive): Promise<{ current?: number; next?: number }> {
  const select = await hive.key(['Select']);
  const current = select && (await hive.value(select, 'Current'));
  const next = select && (await hive.value(select, 'Default'));
  return {
    ...(typeof current === 'number' && { current }),
    ...(typeof next === 'number' && { next }),
  };
}

/** `ControlSet001`. */
export function controlSetName(number: number): string {
  return `ControlSet${String(number).padStart(3, '0')}`;
}

/** The key of a control set that says what the hardware clock holds. */
export function clockKey(hive: Hive, controlSet: string): Promise<HiveKey | undefined> {
  return hive.key([controlSet, 'Control', CLOCK_KEY]);
}

/** What Windows takes the hardware clock to hold. */
export async function windowsClock(hive: Hive, controlSet: string): Promise<WindowsClock> {
  const key = await clockKey(hive, controlSet);
  const value = key && (await hive.findValue(key, CLOCK_VALUE));
  // Windows Vista and later name the zone by its key; XP has a name for people only.
  const zone = key && ((await hive.value(key, 'TimeZoneKeyName')) ?? (await hive.value(key, 'StandardName')));
  const holds = holdsOf(value);
  const number = dwordOf(value);
  return {
    ...(holds !== undefined && { holds }),
    controlSet,
    ...(value !== undefined && { valueType: typeNames[value.type] ?? `type ${value.type}` }),
    ...(number !== undefined && { value: number }),
    ...(typeof zone === 'string' && zone !== '' && { timeZone: zone }),
  };
}

/** What another number, or a value of another type, does is not documented. */
function holdsOf(value: HiveValue | undefined): WindowsClock['holds'] {
  if (value === undefined) return 'local';
  const number = dwordOf(value);
  if (number === 1) return 'utc';
  return number === 0 ? 'local' : undefined;
}

function dwordOf(value: HiveValue | undefined): number | undefined {
  const isDword = value?.type === REG_DWORD && value.isInside && value.lengthBytes === 4;
  return isDword ? value.cell.u32(8) : undefined;
}
