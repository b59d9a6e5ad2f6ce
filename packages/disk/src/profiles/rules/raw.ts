import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { type FormatFacts, type Rule, rule } from '../profile.ts';

export async function rawFacts(source: ByteSource): Promise<FormatFacts> {
  return { virtualSizeBytes: source.lengthBytes, fileLengthBytes: source.lengthBytes };
}

export const wholeSectors: Rule<FormatFacts> = rule('raw-sectors', 'raw disk', ({ fileLengthBytes }) =>
  fileLengthBytes % SECTOR_BYTES === 0
    ? undefined
    : `the file has ${fileLengthBytes} bytes, which are no whole sectors`,
);
