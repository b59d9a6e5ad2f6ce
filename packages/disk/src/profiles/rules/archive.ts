import { OciContents } from '../../archives/oci/contents.ts';
import { disksOf, isDescriptor, memberOf, wholeMember } from '../../archives/ova/contents.ts';
import { diskSource } from '../../archives/ova/open.ts';
import { parseOvf } from '../../archives/ovf/envelope.ts';
import { OVF_BYTES_MAX } from '../../archives/ovf/limits.ts';
import { type TarMember, tarMembers } from '../../archives/tar/reader.ts';
import { utf8Text } from '../../bytes/fields.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { ImageError } from '../../errors.ts';
import type { OpenOptions } from '../../formats/format.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import type { ConsumerFinding, FormatCheck, FormatFacts } from '../profile.ts';

const STRUCTURE = 'OVA archive';

/** An `.oci` archive whose disk is checked as a file of its own would be. */
export function ociArchive(inner: FormatCheck): FormatCheck {
  return {
    format: 'oci',
    async run(source, options) {
      const disk = await new OciContents(source, options).disk(options.signal);
      const { facts, findings } = await runInside(inner, disk.open(), options);
      return {
        facts: { ...facts, fileLengthBytes: source.lengthBytes },
        findings: findings.map((finding) => insideOf(disk, finding)),
      };
    },
  };
}

/**
 * An OVA whose disks are checked as files of their own would be. `refusedSystems` are beginnings of virtual system
 * types that the consumer does not start.
 */
export function ovaArchive(inner: FormatCheck, refusedSystems: readonly string[] = []): FormatCheck {
  return {
    format: 'ova',
    async run(source, options) {
      const members: TarMember[] = [];
      for await (const member of tarMembers(source, options.signal)) members.push(member);
      const descriptor = members.find(isDescriptor);
      if (descriptor === undefined) {
        throw new ImageError('IMAGE_MALFORMED', `${source.name} holds no OVF descriptor`, {
          structure: STRUCTURE,
        });
      }
      const bytes = await wholeMember(descriptor, OVF_BYTES_MAX, options.signal);
      const findings = [...orderFindings(members), ...systemFindings(descriptor, bytes, refusedSystems)];
      const sizes: (number | undefined)[] = [];
      // Many disks of a hostile descriptor may name one file: it is looked at once.
      const seen = new Set<TarMember>();
      for (const disk of disksOf(parseOvf(bytes))) {
        const member = memberOf(members, disk.file, source);
        if (seen.has(member)) continue;
        seen.add(member);
        const result = await runInside(inner, diskSource({ disk, member }), options);
        findings.push(...result.findings.map((finding) => insideOf(member, finding)));
        sizes.push(result.facts.virtualSizeBytes);
      }
      const virtualSizeBytes = sizes.length === 1 ? sizes[0] : undefined;
      return { facts: { virtualSizeBytes, fileLengthBytes: source.lengthBytes }, findings };
    },
  };
}

/** Nothing inside an archive may name another file. */
function runInside(
  inner: FormatCheck,
  source: ByteSource,
  { signal }: OpenOptions,
): Promise<{ readonly facts: FormatFacts; readonly findings: readonly ConsumerFinding[] }> {
  return inner.run(source, { references: denyReferences, signal });
}

function insideOf(member: TarMember, finding: ConsumerFinding): ConsumerFinding {
  const { structure, offsetBytes } = finding;
  const at = offsetBytes === undefined ? undefined : member.offsetBytes + offsetBytes;
  return { ...finding, structure: `${member.name}: ${structure}`, offsetBytes: at };
}

function orderFindings([first]: readonly TarMember[]): ConsumerFinding[] {
  if (first === undefined || isDescriptor(first)) return [];
  const message = `the archive begins with ${first.name}, not with its OVF descriptor`;
  const origin = 'DMTF DSP0243: the descriptor comes first, for who reads the archive as it arrives';
  return [{ rule: 'ova-order', origin, message, structure: STRUCTURE, offsetBytes: 0 }];
}

function systemFindings(
  descriptor: TarMember,
  bytes: Uint8Array,
  refused: readonly string[],
): ConsumerFinding[] {
  const systems = /VirtualSystemType>([^<]*)</.exec(utf8Text(bytes))?.[1]?.trim().split(/\s+/) ?? [];
  const bad = systems.every((system) => refused.some((beginning) => system.startsWith(beginning)));
  if (systems.length === 0 || !bad) return [];
  const message = `the machine is for ${systems.join(', ')}`;
  const origin = 'ESXi refuses machines for virtual systems that it does not know';
  return [{ rule: 'ova-system', origin, message, structure: descriptor.name }];
}
