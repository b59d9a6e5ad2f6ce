import { utf8Bytes, utf8Text } from '../../bytes/fields.ts';
import type { DetailValue } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import { METADATA_BYTES_MAX, METADATA_DEPTH_MAX, WORD_LENGTH_MAX } from './limits.ts';

const STRUCTURE = 'image_metadata.json';

/** How an instance of the image is launched. */
export interface OciLaunchOptions {
  /** `BIOS` or `UEFI_64`. */
  readonly firmware?: string;
  readonly networkType?: string;
  readonly bootVolumeType?: string;
  readonly remoteDataVolumeType?: string;
  readonly localDataVolumeType?: string;
  /** `PARAVIRTUALIZED`, `NATIVE`, `EMULATED` or `CUSTOM`: what the API calls the launch mode. */
  readonly launchOptionsSource?: string;
  readonly pvAttachmentVersion?: number;
  readonly pvEncryptionInTransitEnabled?: boolean;
  readonly consistentVolumeNamingEnabled?: boolean;
}

/** What an `.oci` archive says beside its disk. */
export interface OciMetadata {
  readonly launchOptions: OciLaunchOptions;
  readonly operatingSystem?: string;
  readonly operatingSystemVersion?: string;
  /** The capabilities by name, out of the JSON text that the document holds them in. */
  readonly capabilities?: DetailValue;
  /** The document as it was, with every field. */
  readonly document: Readonly<Record<string, DetailValue>>;
  /** What is not as OCI writes it, one sentence each. */
  readonly warnings: readonly string[];
}

/** Reads the document. Throws IMAGE_MALFORMED for what is no JSON object, IMAGE_LIMIT. */
export function parseOciMetadata(bytes: Uint8Array): OciMetadata {
  if (bytes.length > METADATA_BYTES_MAX) throw limit(`${bytes.length} bytes are above 1 MiB`);
  const document = objectOf(parseJson(utf8Text(bytes), STRUCTURE));
  if (document === undefined) throw malformed('it is no JSON object');
  const warnings: string[] = [];
  const warn = (text: string) => warnings.push(`image_metadata.json: ${text}`);
  if (document.version !== 2)
    warn(`version is ${JSON.stringify(document.version)?.slice(0, 40)}, 2 is known`);
  const launch = objectOf(document.externalLaunchOptions);
  if (launch === undefined) warn('it has no externalLaunchOptions');
  return {
    launchOptions: launch === undefined ? {} : launchOptionsOf(launch, warn),
    ...word(document, 'operatingSystem', warn),
    ...word(document, 'operatingSystemVersion', warn),
    ...capabilitiesOf(document.imageCapabilityData, warn),
    document,
    warnings,
  };
}

type Warn = (text: string) => void;
type JsonObject = Readonly<Record<string, DetailValue>>;

const launchWords = [
  'firmware',
  'networkType',
  'bootVolumeType',
  'remoteDataVolumeType',
  'localDataVolumeType',
  'launchOptionsSource',
] as const satisfies (keyof OciLaunchOptions)[];
const launchFlags = [
  'pvEncryptionInTransitEnabled',
  'consistentVolumeNamingEnabled',
] as const satisfies (keyof OciLaunchOptions)[];

function launchOptionsOf(launch: JsonObject, warn: Warn): OciLaunchOptions {
  let options: OciLaunchOptions = {};
  for (const name of launchWords) options = { ...options, ...word(launch, name, warn) };
  for (const name of launchFlags) {
    const value = launch[name];
    if (typeof value === 'boolean') options = { ...options, [name]: value };
    else if (value !== undefined && value !== null) warn(`${name} is no boolean`);
  }
  const version = launch.pvAttachmentVersion;
  if (typeof version === 'number') options = { ...options, pvAttachmentVersion: version };
  return options;
}

/** A field that holds a word, when it does. */
function word<Name extends string>(
  from: JsonObject,
  name: Name,
  warn: Warn,
): { readonly [key in Name]?: string } {
  const value = from[name];
  if (value === undefined || value === null) return {};
  if (typeof value === 'string' && value.length <= WORD_LENGTH_MAX) {
    return { [name]: value } as { readonly [key in Name]: string };
  }
  warn(`${name} is no short text`);
  return {};
}

/**
 * OCI holds the capabilities as JSON inside a string. Archives made by hand hold the object itself, with or
 * without a `capabilities` around it, or an empty string.
 */
function capabilitiesOf(value: DetailValue | undefined, warn: Warn): { capabilities?: DetailValue } {
  if (value === undefined || value === null || value === '') return {};
  let held: DetailValue = value;
  if (typeof value === 'string') {
    try {
      held = parseJson(value, `${STRUCTURE} imageCapabilityData`);
    } catch (error) {
      if (!(error instanceof ImageError) || error.code === 'IMAGE_LIMIT') throw error;
      warn('imageCapabilityData is no JSON');
      return {};
    }
  }
  const object = objectOf(held);
  if (object === undefined) {
    warn('imageCapabilityData is no object');
    return {};
  }
  return { capabilities: object.capabilities ?? object };
}

function objectOf(value: DetailValue | undefined): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : undefined;
}

/** JSON of bounded depth: what is nested deeper is refused before it is parsed. */
function parseJson(text: string, structure: string): DetailValue {
  requireShallow(text, structure);
  try {
    return JSON.parse(text);
  } catch {
    throw malformed('it is no JSON', structure);
  }
}

function requireShallow(text: string, structure: string): void {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (inString && character === '\\') at++;
    else if (character === '"') inString = !inString;
    else if (inString) continue;
    else if (character === ']' || character === '}') depth--;
    else if ((character === '[' || character === '{') && ++depth > METADATA_DEPTH_MAX) {
      throw limit(`it nests deeper than ${METADATA_DEPTH_MAX}`, structure);
    }
  }
}

function malformed(what: string, structure = STRUCTURE): ImageError {
  return new ImageError('IMAGE_MALFORMED', `${structure} is malformed: ${what}`, { structure });
}

function limit(what: string, structure = STRUCTURE): ImageError {
  return new ImageError('IMAGE_LIMIT', `${structure} is too large: ${what}`, { structure });
}

export interface NewOciMetadata {
  readonly firmware: string;
  readonly launchMode: string;
  readonly operatingSystem: string;
  readonly operatingSystemVersion: string;
}

/** What a launch mode stands for, as OCI's own exports spell it out. */
const devices: Readonly<Record<string, { network: string; boot: string; remote: string; local: string }>> = {
  PARAVIRTUALIZED: {
    network: 'PARAVIRTUALIZED',
    boot: 'PARAVIRTUALIZED',
    remote: 'PARAVIRTUALIZED',
    local: 'PARAVIRTUALIZED',
  },
  NATIVE: { network: 'VFIO', boot: 'ISCSI', remote: 'PARAVIRTUALIZED', local: 'VFIO' },
  EMULATED: { network: 'E1000', boot: 'SCSI', remote: 'SCSI', local: 'SCSI' },
};

/** The document for a new archive, in the shape of OCI's own. */
export function encodeOciMetadata(metadata: NewOciMetadata): Uint8Array {
  const { firmware, launchMode, operatingSystem, operatingSystemVersion } = metadata;
  const { network, boot, remote, local } = devices[launchMode] ?? devices.PARAVIRTUALIZED ?? {};
  const document = {
    version: 2,
    externalLaunchOptions: {
      firmware,
      networkType: network,
      bootVolumeType: boot,
      remoteDataVolumeType: remote,
      localDataVolumeType: local,
      launchOptionsSource: launchMode,
      pvAttachmentVersion: launchMode === 'PARAVIRTUALIZED' ? 2 : 1,
      pvEncryptionInTransitEnabled: false,
      consistentVolumeNamingEnabled: launchMode === 'PARAVIRTUALIZED',
    },
    imageCapabilityData: null,
    imageCapsFormatVersion: null,
    operatingSystem,
    operatingSystemVersion,
    additionalMetadata: { shapeCompatibilities: [] },
  };
  return utf8Bytes(`${JSON.stringify(document, null, 2)}\n`);
}
