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

/** Locators in the order that they are asked. `Wi2r`, `Wi2k` and `Mac ` are out of use and not read. */
const locatorEncodings = [
  ['W2ru', 'utf-16le'],
  ['W2ku', 'utf-16le'],
  ['MacX', 'utf-8'],
] as const;

/**
 * The name of a differencing disk's parent, as the image spells it: its relative Windows path (`W2ru`), else
 * the absolute one (`W2ku`), else a file URL (`MacX`), else the parent unicode name of the header.
 */
export async function readParentName(
  source: ByteSource,
  header: VhdDynamicHeader,
  signal?: AbortSignal,
): Promise<string> {
  for (const [code, encoding] of locatorEncodings) {
    const bytes = await readLocator(source, header, code, signal);
    const name = bytes && textOf(encoding, bytes);
    if (name) return name;
  }
  return textOf('utf-16be', header.bytes.subarray(64, LOCATORS_OFFSET));
}

async function readLocator(
  source: ByteSource,
  header: VhdDynamicHeader,
  code: string,
  signal: AbortSignal | undefined,
): Promise<Uint8Array | undefined> {
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
    return readStructure(source, offsetBytes, lengthBytes, LOCATOR_STRUCTURE, signal);
  }
  return undefined;
}

function textOf(encoding: 'utf-16le' | 'utf-16be' | 'utf-8', bytes: Uint8Array): string {
  return new TextDecoder(encoding).decode(bytes).replace(/\0.*$/su, '');
}
