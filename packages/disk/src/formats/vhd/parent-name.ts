import { latin1Text, viewOf } from '../../bytes/fields.ts';
import { toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import type { VhdDynamicHeader } from './dynamic-header.ts';
import { LOCATOR_BYTES_MAX } from './limits.ts';

export const LOCATOR_STRUCTURE = 'VHD parent locator';
const LOCATORS_OFFSET = 576;
const LOCATOR_BYTES = 24;
const LOCATOR_COUNT = 8;

/**
 * The name of a differencing disk's parent, as the image spells it: its relative Windows path (`W2ru`), else
 * the absolute one (`W2ku`), else the parent unicode name of the header.
 */
export async function readParentName(
  source: ByteSource,
  header: VhdDynamicHeader,
  signal?: AbortSignal,
): Promise<string> {
  for (const code of ['W2ru', 'W2ku']) {
    const name = await readLocator(source, header, code, signal);
    if (name !== undefined) return name;
  }
  return utf16Text('utf-16be', header.bytes.subarray(64, LOCATORS_OFFSET));
}

async function readLocator(
  source: ByteSource,
  header: VhdDynamicHeader,
  code: string,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const view = viewOf(header.bytes);
  for (let i = 0; i < LOCATOR_COUNT; i++) {
    const at = LOCATORS_OFFSET + i * LOCATOR_BYTES;
    if (latin1Text(header.bytes.subarray(at, at + 4)) !== code) continue;
    const place = { structure: LOCATOR_STRUCTURE, offsetBytes: header.offsetBytes + at };
    // Platform data space, at 4, counts sectors in the specification and bytes in Hyper-V: not used.
    const lengthBytes = view.getUint32(at + 8);
    if (lengthBytes > LOCATOR_BYTES_MAX) {
      throw new ImageError('IMAGE_LIMIT', `VHD parent locator of ${lengthBytes} bytes is too long`, place);
    }
    const offsetBytes = toSafeInteger(view.getBigUint64(at + 16), place);
    const bytes = await readStructure(source, offsetBytes, lengthBytes, LOCATOR_STRUCTURE, signal);
    return utf16Text('utf-16le', bytes);
  }
  return undefined;
}

function utf16Text(encoding: 'utf-16le' | 'utf-16be', bytes: Uint8Array): string {
  return new TextDecoder(encoding).decode(bytes).replace(/\0.*$/su, '');
}
