import { bytesEqual, hexText } from '../../bytes/fields.ts';
import { MIB } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { Findings } from '../../formats/findings.ts';
import type { CheckReport, OpenOptions } from '../../formats/format.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { incrementalHash } from '../../io/node-hash.ts';
import { addInnerFindings, checkInnerImage } from '../inner-check.ts';
import { parseOvf } from '../ovf/envelope.ts';
import { OVF_BYTES_MAX } from '../ovf/limits.ts';
import { type TarMember, tarMembers } from '../tar/reader.ts';
import { disksOf, isDescriptor, memberOf, wholeMember } from './contents.ts';
import { MANIFEST_BYTES_MAX, type ManifestEntry, parseManifest } from './manifest.ts';
import { declaredFormat, diskSource } from './open.ts';

const STRUCTURE = 'OVA manifest';

/** Compares every file with the manifest's digest of it, and checks each disk. Reads the archive once or twice. */
export async function checkOva(source: ByteSource, options: OpenOptions): Promise<CheckReport> {
  const { signal } = options;
  const findings = new Findings();
  const members: TarMember[] = [];
  for await (const member of tarMembers(source, signal)) members.push(member);
  await checkManifest(findings, members, signal);
  const descriptor = members.find(isDescriptor);
  if (descriptor === undefined) {
    throw new ImageError('IMAGE_MALFORMED', `${source.name} holds no OVF descriptor`, {
      structure: 'OVA archive',
    });
  }
  const disks = disksOf(parseOvf(await wholeMember(descriptor, OVF_BYTES_MAX, signal)));
  for (const disk of disks.filter(({ id }) => options.member === undefined || id === options.member)) {
    const found = { disk, member: memberOf(members, disk.file, source) };
    const { lengthBytes } = disk.file;
    if (lengthBytes !== undefined && lengthBytes !== found.member.lengthBytes) {
      const stated = `the descriptor says ${lengthBytes} bytes`;
      findings.add(
        'warning',
        `${found.member.name}`,
        `${stated}, the archive holds ${found.member.lengthBytes}`,
      );
    }
    const report = await checkInnerImage(diskSource(found), [declaredFormat(disk).format], signal);
    addInnerFindings(findings, found.member, report);
  }
  return findings.report('ova');
}

async function checkManifest(
  findings: Findings,
  members: readonly TarMember[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const files = members.filter(({ kind }) => kind === 'file');
  const manifest = files.find(({ name }) => name.toLowerCase().endsWith('.mf'));
  if (manifest === undefined) {
    findings.add('warning', STRUCTURE, 'the archive has no manifest: its files are not proved');
    return;
  }
  const entries = parseManifest(await wholeMember(manifest, MANIFEST_BYTES_MAX, signal), manifest.name);
  for (const entry of entries) {
    const member = files.find(({ name }) => name === entry.name.normalize('NFC'));
    if (member === undefined) findings.add('corruption', STRUCTURE, `${entry.name} is not in the archive`);
    else await compareDigest(findings, member, entry, signal);
  }
  for (const { name } of files) {
    const isListed = name === manifest.name || entries.some((entry) => entry.name.normalize('NFC') === name);
    if (isListed) continue;
    const isSignature = name.toLowerCase().endsWith('.cert');
    findings.add(
      'warning',
      STRUCTURE,
      isSignature ? `the signature ${name} is not verified` : `${name} is not listed`,
    );
  }
}

async function compareDigest(
  findings: Findings,
  member: TarMember,
  entry: ManifestEntry,
  signal: AbortSignal | undefined,
): Promise<void> {
  const hash = incrementalHash(entry.kind);
  const source = member.open();
  const buffer = new Uint8Array(Math.min(MIB, source.lengthBytes));
  for (let at = 0; at < source.lengthBytes; at += buffer.length) {
    const bytes = buffer.subarray(0, Math.min(buffer.length, source.lengthBytes - at));
    await source.read(at, bytes, signal);
    hash.update(bytes);
  }
  const digest = hash.digest();
  if (bytesEqual(digest, Uint8Array.fromHex(entry.digest))) return;
  const kind = entry.kind.toUpperCase();
  const message = `${member.name} has the ${kind} ${hexText(digest)}, the manifest says ${entry.digest}`;
  findings.add('corruption', STRUCTURE, message, member.offsetBytes);
}
