import {
  type DetailValue,
  ImageError,
  type OciDocument,
  ociDocumentWarnings,
  parseOciDocument,
} from '@gantry/disk';
import { type Defined, defined } from '../../defined.ts';
import type {
  DescriptorReading,
  Firmware,
  ImageCapabilities,
  JsonObject,
  LaunchOptions,
  MachineFacts,
  ShapeCompatibility,
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

type Warn = (text: string) => void;

/**
 * Reads `image_metadata.json` of an `.oci` archive: its text, or the document as the details of an opened disk hold
 * it (`metadata`). A field of a type that OCI does not write is left away with a warning; a field of a name that is
 * not known is kept in `foreign`. Throws IMAGE_MALFORMED for a text that is no JSON object, IMAGE_LIMIT.
 */
export function readOciMetadata(document: string | Uint8Array | OciDocument): DescriptorReading {
  const fields =
    typeof document === 'string' || document instanceof Uint8Array ? parseOciDocument(document) : document;
  const warnings = ociDocumentWarnings(fields);
  const warn = (text: string) => warnings.push(`image_metadata.json: ${text}`);
  const launch = objectOf(fields.externalLaunchOptions) ?? {};
  const launchOptions = launchOptionsOf(launch, warn);
  const capabilities = capabilitiesOf(fields, warn);
  const additional = optionalObject(fields, 'additionalMetadata', warn) ?? {};
  const shapes = shapesOf(additional.shapeCompatibilities, warn);
  const name = word(fields, 'operatingSystem', warn);
  const version = word(fields, 'operatingSystemVersion', warn);
  const foreign = present({
    ...unknownOf(fields, documentNames),
    externalLaunchOptions: present(unknownOf(launch, launchNames)),
    imageCapabilityData: present(capabilities.unknown),
    additionalMetadata: present(unknownOf(additional, additionalNames)),
  });
  const facts: MachineFacts = defined({
    firmware: firmwareOf(launchOptions.firmware),
    guestOs: present(defined({ name, version })),
    launchOptions: present(launchOptions),
    imageCapabilities: present(capabilities.known),
    shapeCompatibilities: shapes.length > 0 ? shapes : undefined,
    foreign: foreign && { [OCI_METADATA]: foreign },
  });
  return { facts, warnings };
}

function firmwareOf(stated: string | undefined): Firmware | undefined {
  if (stated === firmwareWords.bios) return 'bios';
  return stated === firmwareWords.uefi ? 'uefi' : undefined;
}

function launchOptionsOf(launch: JsonObject, warn: Warn): LaunchOptions {
  const options: Record<string, DetailValue> = {};
  for (const [field, name] of launchWords) {
    const value = word(launch, name, warn);
    if (value !== undefined) options[field] = value;
  }
  for (const [fields, type] of [
    [launchNumbers, 'number'],
    [launchFlags, 'boolean'],
  ] as const) {
    for (const [field, name] of fields) {
      const value = launch[name] ?? undefined;
      if (typeof value === type) options[field] = value as DetailValue;
      else if (value !== undefined) warn(`${name} is no ${type}: ${shown(value)}`);
    }
  }
  return options;
}

/**
 * OCI holds the capabilities as JSON inside a text. Archives made by hand hold the object itself, with or without a
 * `capabilities` around it, or an empty text.
 */
function capabilitiesOf(
  fields: OciDocument,
  warn: Warn,
): { readonly known: ImageCapabilities; readonly unknown?: JsonObject } {
  const formatVersion = word(fields, 'imageCapsFormatVersion', warn);
  const held = fields.imageCapabilityData;
  if (held === undefined || held === null || held === '') return { known: defined({ formatVersion }) };
  const object = typeof held === 'string' ? objectIn(held, warn) : objectOf(held);
  if (object === undefined) {
    if (typeof held !== 'string') warn(`imageCapabilityData is no object: ${shown(held)}`);
    return { known: defined({ formatVersion }) };
  }
  if (!Object.hasOwn(object, 'capabilities'))
    return { known: defined({ formatVersion, capabilities: object }) };
  const capabilities = optionalObject(object, 'capabilities', warn);
  return { known: defined({ formatVersion, capabilities }), unknown: unknownOf(object, ['capabilities']) };
}

function objectIn(text: string, warn: Warn): JsonObject | undefined {
  try {
    return parseOciDocument(text, 'imageCapabilityData');
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    warn(error.message);
    return undefined;
  }
}

function shapesOf(list: DetailValue | undefined, warn: Warn): ShapeCompatibility[] {
  if (list === undefined || list === null) return [];
  if (!Array.isArray(list)) {
    warn(`shapeCompatibilities is no list: ${shown(list)}`);
    return [];
  }
  const shapes: ShapeCompatibility[] = [];
  for (const entry of list as readonly DetailValue[]) {
    const fields = objectOf(entry);
    const shape = fields && word(fields, 'internalShapeName', warn);
    if (fields === undefined || shape === undefined) warn(`a shape has no name: ${shown(entry)}`);
    else shapes.push(shapeOf(shape, fields, warn));
  }
  return shapes;
}

function shapeOf(shape: string, fields: JsonObject, warn: Warn): ShapeCompatibility {
  const kept: Record<string, DetailValue> = { ...unknownOf(fields, shapeNames) };
  const constraints = (name: string, names: readonly string[]) => {
    const value = fields[name] ?? undefined;
    if (value === undefined) return undefined;
    const numbers = numbersOf(value, names);
    if (numbers !== undefined) return numbers;
    warn(`${name} of ${shown(shape)} is kept without being understood: ${shown(value)}`);
    kept[name] = value;
    return undefined;
  };
  return defined({
    shape,
    ocpuConstraints: constraints('ocpuConstraints', ocpuNames),
    memoryConstraints: constraints('memoryConstraints', memoryNames),
    foreign: present(kept),
  });
}

/** An object of nothing but these numbers. */
function numbersOf(
  value: DetailValue,
  names: readonly string[],
): Readonly<Record<string, number>> | undefined {
  const object = objectOf(value);
  if (object === undefined) return undefined;
  const entries: [string, number][] = [];
  for (const [name, part] of Object.entries(object)) {
    if (part === null && names.includes(name)) continue;
    if (typeof part !== 'number' || !names.includes(name)) return undefined;
    entries.push([name, part]);
  }
  return Object.fromEntries(entries);
}

/** A field that holds a word, when it does. */
function word(from: JsonObject, name: string, warn: Warn): string | undefined {
  const value = from[name] ?? undefined;
  if (value === undefined || value === '') return undefined;
  if (typeof value === 'string' && value.length <= WORD_LENGTH_MAX) return value;
  warn(`${name} is no short text: ${shown(value)}`);
  return undefined;
}

function optionalObject(from: JsonObject, name: string, warn: Warn): JsonObject | undefined {
  const value = from[name] ?? undefined;
  const object = objectOf(value);
  if (object === undefined && value !== undefined) warn(`${name} is no object: ${shown(value)}`);
  return object;
}

function objectOf(value: DetailValue | undefined): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : undefined;
}

function unknownOf(from: JsonObject, known: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(from).filter(([name]) => !known.includes(name)));
}

/** Undefined for an object without a field that holds something. */
function present<Value extends object>(value: Value | undefined): Defined<Value> | undefined {
  if (value === undefined) return undefined;
  const held = defined(value);
  return Object.keys(held).length > 0 ? held : undefined;
}

function shown(value: DetailValue): string {
  return JSON.stringify(value).slice(0, 80);
}
