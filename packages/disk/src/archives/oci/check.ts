import { Findings } from '../../formats/findings.ts';
import type { CheckReport, OpenOptions } from '../../formats/format.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { addInnerFindings, checkInnerImage } from '../inner-check.ts';
import { ociContents } from './open.ts';

export async function checkOci(source: ByteSource, options: OpenOptions): Promise<CheckReport> {
  const { disk, metadata } = await ociContents(source, options);
  const findings = new Findings();
  for (const warning of metadata?.warnings ?? ['the archive has no image_metadata.json']) {
    findings.add('warning', 'image_metadata.json', warning);
  }
  addInnerFindings(findings, disk, await checkInnerImage(disk.open(), ['qcow2'], options.signal));
  return findings.report('oci');
}
