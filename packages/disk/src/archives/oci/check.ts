import { Findings } from '../../formats/findings.ts';
import type { CheckReport, OpenOptions } from '../../formats/format.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { addInnerFindings, checkInnerImage } from '../inner-check.ts';
import { METADATA_NAME } from '../kind.ts';
import { OciContents } from './contents.ts';

export async function checkOci(source: ByteSource, options: OpenOptions): Promise<CheckReport> {
  const { signal } = options;
  const contents = new OciContents(source, options);
  const disk = await contents.disk(signal);
  const inner = await checkInnerImage(disk.open(), ['qcow2'], signal);
  await contents.toEnd(signal);
  const findings = new Findings();
  for (const warning of contents.warnings) findings.add('warning', METADATA_NAME, warning);
  addInnerFindings(findings, disk, inner);
  return findings.report('oci');
}
