import { Findings } from '../../formats/findings.ts';
import type { CheckReport, Format, OpenOptions } from '../../formats/format.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { addInnerFindings, checkInnerImage } from '../inner-check.ts';
import { archiveKind } from '../kind.ts';
import { ociContents, openOci } from './open.ts';
import { ociOptions, ociPlacement, planOci } from './plan.ts';

/** The archive in which Oracle Cloud exports and imports custom images: a tar of a qcow2 file and a document. */
export const oci: Format = {
  name: 'oci',
  title: 'Oracle Cloud image (.oci)',
  extensions: ['oci'],
  recognise: ({ head }) => archiveKind(head) === 'oci',
  open: openOci,
  selectors: ['snapshot', 'member'],
  options: ociOptions,
  compressions: ['zlib'],
  plan: planOci,
  placement: ociPlacement,
  check: checkOci,
};

async function checkOci(source: ByteSource, options: OpenOptions): Promise<CheckReport> {
  const { disk, metadata } = await ociContents(source, options);
  const findings = new Findings();
  for (const warning of metadata?.warnings ?? ['the archive has no image_metadata.json']) {
    findings.add('warning', 'image_metadata.json', warning);
  }
  addInnerFindings(findings, disk, await checkInnerImage(disk.open(), ['qcow2'], options.signal));
  return findings.report('oci');
}
