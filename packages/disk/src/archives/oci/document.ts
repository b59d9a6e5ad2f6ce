import { utf8Text } from '../../bytes/fields.ts';
import type { DetailValue } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import { METADATA_NAME } from '../kind.ts';
import { METADATA_BYTES_MAX, METADATA_DEPTH_MAX } from './limits.ts';

/** The document of an `.oci` archive, `image_metadata.json`, under its own names. */
export type OciDocument = Readonly<Record<string, DetailValue>>;

/**
 * Reads the document of an `.oci` archive, or the one that its `imageCapabilityData` holds as a text: a JSON object
 * of at most 1 MiB that nests at most 32 deep. What stands in it is left to who uses it. `structure` is its name
 * for messages. Throws IMAGE_MALFORMED, IMAGE_LIMIT.
 */
export function parseOciDocument(json: string | Uint8Array, structure: string = METADATA_NAME): OciDocument {
  // A text never has more characters than bytes.
  if (json.length > METADATA_BYTES_MAX)
    throw limit(`${json.length} bytes are above ${METADATA_BYTES_MAX}`, structure);
  const text = typeof json === 'string' ? json : utf8Text(json);
  requireShallow(text, structure);
  const value = parsed(text, structure);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as OciDocument;
  throw malformed('it is no JSON object', structure);
}

/** What keeps OCI from reading the document, one sentence each. */
export function ociDocumentWarnings({ version, externalLaunchOptions }: OciDocument): string[] {
  const warnings: string[] = [];
  if (version !== 2) {
    const stated = JSON.stringify(version)?.slice(0, 40);
    warnings.push(`${METADATA_NAME}: version is ${stated}, 2 is known`);
  }
  if (typeof externalLaunchOptions !== 'object' || externalLaunchOptions === null)
    warnings.push(`${METADATA_NAME}: it has no externalLaunchOptions`);
  return warnings;
}

function parsed(text: string, structure: string): DetailValue {
  try {
    return JSON.parse(text);
  } catch {
    throw malformed('it is no JSON', structure);
  }
}

/** What is nested deeper is refused before it is parsed. */
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

function malformed(what: string, structure: string): ImageError {
  return new ImageError('IMAGE_MALFORMED', `${structure} is malformed: ${what}`, { structure });
}

function limit(what: string, structure: string): ImageError {
  return new ImageError('IMAGE_LIMIT', `${structure} is too large: ${what}`, { structure });
}
