import { MIB, SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { OpenOptions } from '../../formats/format.ts';
import { readEnds, type VhdEnds } from '../../formats/vhd/ends.ts';
import { chsSizeBytes, FOOTER_BYTES, FOOTER_STRUCTURE, type VhdFooter } from '../../formats/vhd/footer.ts';
import { DYNAMIC_SIZE_BYTES_MAX } from '../../formats/vhd/limits.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { type FormatFacts, type Rule, rule } from '../profile.ts';

export interface VhdFacts extends FormatFacts {
  readonly virtualSizeBytes: number;
  readonly ends: VhdEnds;
  readonly footer: VhdFooter;
}

export async function vhdFacts(source: ByteSource, options: OpenOptions): Promise<VhdFacts> {
  const ends = await readEnds(source, options.signal);
  const { footer } = ends;
  return {
    virtualSizeBytes: footer.currentSizeBytes,
    fileLengthBytes: source.lengthBytes,
    ends,
    footer,
  };
}

function footerRule(
  id: string,
  fieldBytes: number,
  problem: (facts: VhdFacts) => string | undefined,
): Rule<VhdFacts> {
  return rule(id, FOOTER_STRUCTURE, problem, ({ ends }) => ends.dataEndBytes + fieldBytes);
}

/** A file that ends with 511 bytes of a footer, or with none, is read by its copy or not at all. */
export const footerAtEnd: Rule<VhdFacts> = footerRule('vhd-footer', 0, ({ ends, fileLengthBytes }) => {
  if (ends.endState !== 'valid') return `the footer at the end of the file is ${ends.endState}`;
  return fileLengthBytes - ends.dataEndBytes === FOOTER_BYTES
    ? undefined
    : 'the footer at the end of the file is cut';
});

export const noParent: Rule<VhdFacts> = footerRule('vhd-parent', 60, ({ footer }) =>
  footer.diskType === 'differencing' ? 'the image depends on a parent' : undefined,
);

export const fixedDisk: Rule<VhdFacts> = footerRule('vhd-fixed', 60, ({ footer }) =>
  footer.diskType === 'fixed' ? undefined : `the disk is ${footer.diskType}, not fixed`,
);

export const wholeMebibytes: Rule<VhdFacts> = footerRule('vhd-whole-mib', 48, ({ virtualSizeBytes }) =>
  virtualSizeBytes % MIB === 0
    ? undefined
    : `the disk has ${virtualSizeBytes} bytes, which are no multiple of 1 MiB`,
);

export const wholeSectors: Rule<VhdFacts> = footerRule('vhd-sectors', 48, ({ virtualSizeBytes }) =>
  virtualSizeBytes % SECTOR_BYTES === 0
    ? undefined
    : `the disk has ${virtualSizeBytes} bytes, which are no whole sectors`,
);

/** Nothing but the disk and its footer: a page blob of that length is made for it. */
export const exactLength: Rule<VhdFacts> = footerRule('vhd-length', 48, ({ fileLengthBytes, footer }) =>
  footer.diskType !== 'fixed' || fileLengthBytes === footer.currentSizeBytes + FOOTER_BYTES
    ? undefined
    : `the file has ${fileLengthBytes} bytes, not the ${footer.currentSizeBytes} of the disk and 512 of the footer`,
);

export const hostOsWindows: Rule<VhdFacts> = footerRule('vhd-host-os', 36, ({ footer }) =>
  footer.creatorHostOs === 'Wi2k'
    ? undefined
    : `the creator's system is ${JSON.stringify(footer.creatorHostOs)}, not Wi2k`,
);

/** The creators of which QEMU too believes the size (block/vpc.c); of others it takes the geometry. */
const SIZE_CREATORS = ['win ', 'qem2', 'd2v ', 'CTXS', 'tap'];
const GEOMETRY_SECTORS_MAX = 65535 * 16 * 255;

/** Where creator and geometry disagree with the size, two programs see disks of two sizes. */
export const oneSize: Rule<VhdFacts> = footerRule('vhd-creator', 28, ({ footer, virtualSizeBytes }) => {
  const chsBytes = chsSizeBytes(footer);
  if (SIZE_CREATORS.includes(footer.creatorApplication) || chsBytes === virtualSizeBytes) return undefined;
  if (chsBytes === GEOMETRY_SECTORS_MAX * SECTOR_BYTES) return undefined;
  const creator = JSON.stringify(footer.creatorApplication);
  return `of the creator ${creator} some programs take the ${chsBytes} bytes of the geometry, not the disk's ${virtualSizeBytes}`;
});

export const dynamicSize: Rule<VhdFacts> = footerRule('vhd-size', 48, ({ footer, virtualSizeBytes }) =>
  footer.diskType === 'fixed' || virtualSizeBytes <= DYNAMIC_SIZE_BYTES_MAX
    ? undefined
    : `a ${footer.diskType} disk of ${virtualSizeBytes} bytes is above 2040 GiB`,
);
