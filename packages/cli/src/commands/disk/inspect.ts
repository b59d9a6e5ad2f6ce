import {
  type GuestFileSystem,
  type GuestKernel,
  type GuestOperatingSystem,
  type GuestReport,
  inspectGuest,
  type LaunchProposal,
  proposeLaunch,
} from '@gantry/machine';
import type { Context } from '../../context.ts';
import { EXIT, type ExitCode } from '../../errors/codes.ts';
import { printable } from '../../output/printable.ts';
import { sizeText } from '../../output/quantities.ts';
import type { Plain } from '../../output/yaml.ts';
import { ImageFiles, type ImageFilesOptions, selectedBy } from './image-files.ts';

export async function run(
  context: Context,
  [file]: readonly [string],
  options: ImageFilesOptions & { readonly from?: string },
): Promise<ExitCode> {
  const files = new ImageFiles(options, context.signal);
  try {
    const { disk } = await files.open(file, { ...selectedBy(options), inAnyOrder: true });
    const report = await inspectGuest(disk, { signal: context.signal });
    await files.requireFilesUnchanged();
    const proposal = proposeLaunch(report);
    const record = { file, ...report, proposal };
    await context.output.record(
      record as unknown as { [key: string]: Plain },
      linesOf(file, report, proposal),
    );
    return proposal.boots === 'no' ? EXIT.findings : EXIT.ok;
  } finally {
    await files.close();
  }
}

function linesOf(file: string, report: GuestReport, proposal: LaunchProposal): string[] {
  const { partitionTable, fileSystems, operatingSystems, kernels, findings } = report;
  const { firmware, launchMode, architecture, boots, reasons, warnings } = proposal;
  const lines = [
    `file: ${file}`,
    `partition table: ${partitionTable.kind}${partitionTable.isHybrid === true ? ', hybrid' : ''}`,
    ...partitionLines(report),
    ...fileSystems.map(fileSystemLine),
    ...operatingSystems.flatMap(systemLines),
    ...kernels.flatMap(kernelLines),
    ...(['bios', 'uefi'] as const).map((name) => {
      const answer = report.firmware[name];
      return `${name === 'bios' ? 'BIOS' : 'UEFI'}: ${answer.boots}: ${answer.reasons.join('; ')}`;
    }),
    `boots: ${boots}`,
    `proposed: ${architecture}, ${firmware}, ${launchMode}`,
    ...reasons.map((reason) => `  because ${reason}`),
  ];
  const told = new Set(findings.map(({ where, message }) => `${where}: ${message}`));
  lines.push(...warnings.filter((warning) => !told.has(warning)).map((warning) => `warning: ${warning}`));
  for (const { severity, where, message, hint } of findings) {
    lines.push(`${severity}: ${where}: ${message}`);
    if (hint !== undefined) lines.push(`  ${hint}`);
  }
  return lines.map(printable);
}

function partitionLines({ partitions }: GuestReport): string[] {
  return partitions.map(({ number, offsetBytes, lengthBytes, type, typeName, name, isActive }) => {
    const words = [typeName ?? type, ...(name === undefined ? [] : [JSON.stringify(name)])];
    if (isActive === true) words.push('active');
    return `partition ${number}: ${sizeText(lengthBytes)} at ${offsetBytes}: ${words.join(', ')}`;
  });
}

function fileSystemLine({
  where,
  kind,
  label,
  uuid,
  lengthBytes,
  isEncrypted,
  isRead,
}: GuestFileSystem): string {
  const words = [kind, sizeText(lengthBytes)];
  if (label !== undefined) words.push(`label ${JSON.stringify(label)}`);
  if (uuid !== undefined) words.push(`UUID ${uuid}`);
  if (isEncrypted) words.push('encrypted');
  else if (!isRead) words.push('known by its name only');
  return `${where} holds: ${words.join(', ')}`;
}

function systemLines({ name, version, where, linux, windows }: GuestOperatingSystem): string[] {
  const lines = [`system: ${name}${version === undefined ? '' : ` ${version}`} on ${where}`];
  for (const kernel of linux?.kernels ?? []) lines.push(...kernelLines(kernel));
  if (linux?.hasCloudInit === true) lines.push('  cloud-init is there');
  if (windows !== undefined) {
    const { drivers, realTimeIsUniversal } = windows;
    for (const driver of drivers.filter(({ hasFile }) => hasFile))
      lines.push(`  driver ${driver.name}.sys, start type ${driver.startType ?? 'not said'}`);
    if (realTimeIsUniversal !== undefined)
      lines.push(`  hardware clock in ${realTimeIsUniversal ? 'UTC' : 'local time'}`);
  }
  return lines;
}

function kernelLines({ version, drivers }: GuestKernel): string[] {
  if (drivers === undefined) return [`  kernel ${version}`];
  const states = Object.entries(drivers).map(([name, { value }]) => `${name} ${value}`);
  return [`  kernel ${version}: ${states.join(', ')}`];
}
