import type { OpenOptions } from '../../formats/format.ts';
import { formatNamed } from '../../formats/registry.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import type { FormatFacts } from '../profile.ts';

/** Facts of a format of which nothing is demanded but that it can be read. */
export function diskFacts(
  format: string,
): (source: ByteSource, options: OpenOptions) => Promise<FormatFacts> {
  return async (source, options) => {
    const disk = await formatNamed(format).open(source, options);
    await disk.close();
    return { virtualSizeBytes: disk.virtualSizeBytes, fileLengthBytes: source.lengthBytes };
  };
}
