import { type DetailValue, parseOciDocument } from '@gantry/disk';
import { osFamilyOf } from '../../guest-os.ts';
import { Losses } from '../../losses.ts';
import type {
  GuestOs,
  ImageCapabilities,
  JsonObject,
  MachineFacts,
  ShapeCompatibility,
  WrittenDescriptor,
} from '../../model.ts';
import {
  additionalNames,
  documentNames,
  firmwareWords,
  launchFlags,
  launchNames,
  launchNumbers,
  launchWords,
  memoryNames,
  OCI_METADATA,
  ocpuNames,
  shapeNames,
  WORD_LENGTH_MAX,
} from './fields.ts';

type Entry = readonly [name: string, value: DetailValue];

const NO_FIELD = 'image_metadata.json has no field for it';

type Held =
  | 'firmware'
  | 'guestOs'
  | 'launchOptions'
  | 'shapeCompatibilities'
  | 'imageCapabilities'
  | 'foreign';

/** What the document says nothing about. A field that the model gets has to be put here or written. */
const notHeld: Readonly<Record<Exclude<keyof MachineFacts, Held>, string>> = {
  name: NO_FIELD,
  uuid: NO_FIELD,
  title: NO_FIELD,
  description: NO_FIELD,
  architecture: NO_FIELD,
  secureBoot: NO_FIELD,
  tpm: NO_FIELD,
  cpuCount: 'a shape decides about CPUs',
  memoryBytes: 'a shape decides about memory',
  clock: NO_FIELD,
  guestType: NO_FIELD,
  features: NO_FIELD,
  kernel: NO_FIELD,
  bootloader: NO_FIELD,
  disks: 'the archive holds one disk, and the document says nothing about it',
  nics: NO_FIELD,
  graphics: NO_FIELD,
};

/**
 * Writes `image_metadata.json`, version 2, as OCI does: the capabilities as JSON inside a text. `losses` names every
 * field of the machine that is not in it, or not as it was. Throws IMAGE_LIMIT for what would have more than 1 MiB
 * or nest deeper than 32, since no reader takes that.
 */
export function writeOciMetadata(machine: MachineFacts): WrittenDescriptor {
  const losses = new Losses();
  losses.addFields(machine, notHeld);
  const { [OCI_METADATA]: foreign = {}, ...others } = machine.foreign ?? {};
  for (const [name, value] of Object.entries(others)) {
    losses.add(`foreign.${name}`, value, 'it belongs to another descriptor');
  }
  const { imageCapabilities = {} } = machine;
  const entries: Entry[] = [
    ['version', 2],
    ['externalLaunchOptions', launchObject(machine, foreign, losses)],
    ['imageCapabilityData', capabilityText(imageCapabilities, foreign, losses)],
    ...wordEntry(
      'imageCapsFormatVersion',
      imageCapabilities,
      'formatVersion',
      'imageCapabilities',
      losses,
      null,
    ),
    ...osEntries(machine.guestOs ?? {}, losses),
    ['additionalMetadata', additionalObject(machine, foreign, losses)],
    ...unknownEntries(
      foreign,
      documentNames,
      nestedNames.filter((name) => isObject(foreign[name])),
      '',
      losses,
    ),
  ];
  const text = `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`;
  parseOciDocument(text);
  return { text, losses: losses.all };
}

/** Fields of the document whose own unknown fields stand under their names. */
const nestedNames: readonly string[] = ['externalLaunchOptions', 'imageCapabilityData', 'additionalMetadata'];

function launchObject(machine: MachineFacts, foreign: JsonObject, losses: Losses): JsonObject {
  const { launchOptions = {}, firmware } = machine;
  const entries: Entry[] = [];
  const stated = firmware === undefined ? undefined : firmwareWords[firmware];
  if (launchOptions.firmware === undefined && stated !== undefined) entries.push(['firmware', stated]);
  else if (launchOptions.firmware !== stated)
    losses.add('firmware', firmware, `the launch options say ${launchOptions.firmware}`);
  for (const [field, name] of launchWords) {
    entries.push(...wordEntry(name, launchOptions, field, 'launchOptions', losses));
  }
  for (const [field, name] of launchNumbers) {
    const value = launchOptions[field];
    if (value !== undefined && Number.isFinite(value)) entries.push([name, value]);
    else losses.add(`launchOptions.${field}`, value, 'it is no number');
  }
  for (const [field, name] of launchFlags) {
    const value = launchOptions[field];
    if (value !== undefined) entries.push([name, value]);
  }
  return Object.fromEntries([
    ...entries,
    ...nestedUnknown(foreign, 'externalLaunchOptions', launchNames, losses),
  ]);
}

function capabilityText(
  { capabilities }: ImageCapabilities,
  foreign: JsonObject,
  losses: Losses,
): string | null {
  if (capabilities === undefined) {
    losses.add(
      `foreign.${OCI_METADATA}.imageCapabilityData`,
      foreign.imageCapabilityData,
      'it stands beside capabilities, and there are none',
    );
    return null;
  }
  const unknown = nestedUnknown(foreign, 'imageCapabilityData', ['capabilities'], losses);
  const text = JSON.stringify(Object.fromEntries([['capabilities', capabilities], ...unknown]));
  parseOciDocument(text, 'imageCapabilityData');
  return text;
}

function osEntries(guestOs: GuestOs, losses: Losses): Entry[] {
  const { family, ...named } = guestOs;
  if (family !== osFamilyOf(named))
    losses.add('guestOs.family', family, 'the name of the system tells another');
  return [
    ...wordEntry('operatingSystem', guestOs, 'name', 'guestOs', losses),
    ...wordEntry('operatingSystemVersion', guestOs, 'version', 'guestOs', losses),
  ];
}

function additionalObject(machine: MachineFacts, foreign: JsonObject, losses: Losses): JsonObject {
  const shapes = machine.shapeCompatibilities ?? [];
  const list = shapes.flatMap((shape, i) => shapeObject(shape, `shapeCompatibilities[${i}]`, losses));
  const unknown = nestedUnknown(foreign, 'additionalMetadata', additionalNames, losses);
  return Object.fromEntries<DetailValue>([['shapeCompatibilities', list], ...unknown]);
}

function shapeObject(shape: ShapeCompatibility, path: string, losses: Losses): JsonObject[] {
  if (!isWord(shape.shape)) {
    losses.add(path, shape, `the name of a shape has 1 to ${WORD_LENGTH_MAX} characters`);
    return [];
  }
  const { foreign = {} } = shape;
  const constraints = (name: 'ocpuConstraints' | 'memoryConstraints', names: readonly string[]): Entry => {
    const held = shape[name];
    if (held === undefined) return [name, foreign[name] ?? null];
    const entries = Object.entries<number>(held);
    const numbers = entries.filter(([part, value]) => names.includes(part) && Number.isFinite(value));
    if (numbers.length < entries.length) losses.add(`${path}.${name}`, held, 'a part of it is no number');
    losses.add(`${path}.foreign.${name}`, foreign[name], `${name} says it`);
    return [name, Object.fromEntries(numbers)];
  };
  const own = shapeNames.filter((name) => name !== 'internalShapeName');
  return [
    Object.fromEntries([
      ['internalShapeName', shape.shape] as Entry,
      constraints('ocpuConstraints', ocpuNames),
      constraints('memoryConstraints', memoryNames),
      ...unknownEntries(foreign, shapeNames, own, `${path}.foreign`, losses),
    ]),
  ];
}

/** A word of the model under its name in the document; `absent` where there is none. */
function wordEntry<Field extends string>(
  name: string,
  from: { readonly [key in Field]?: string },
  field: Field,
  path: string,
  losses: Losses,
  absent?: null,
): Entry[] {
  const value = from[field];
  if (value !== undefined && isWord(value)) return [[name, value]];
  losses.add(`${path}.${field}`, value, `it is no text of 1 to ${WORD_LENGTH_MAX} characters`);
  return absent === undefined ? [] : [[name, absent]];
}

function isWord(value: string): boolean {
  return value.length > 0 && value.length <= WORD_LENGTH_MAX;
}

/** What was unknown inside a field of the document. */
function nestedUnknown(foreign: JsonObject, name: string, known: readonly string[], losses: Losses): Entry[] {
  const held = foreign[name];
  return isObject(held) ? unknownEntries(held, known, [], `foreign.${OCI_METADATA}.${name}`, losses) : [];
}

/** Fields that are written as they were; `own` are known ones that somebody else writes. */
function unknownEntries(
  from: JsonObject,
  known: readonly string[],
  own: readonly string[],
  path: string,
  losses: Losses,
): Entry[] {
  const prefix = path === '' ? `foreign.${OCI_METADATA}` : path;
  return Object.entries(from).filter(([name, value]) => {
    const isKnown = known.includes(name);
    if (isKnown && !own.includes(name))
      losses.add(`${prefix}.${name}`, value, 'the document has this field for itself');
    return !isKnown;
  });
}

function isObject(value: DetailValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
