import {
  type GuestFileSystem,
  type GuestKernel,
  type GuestOperatingSystem,
  type GuestReport,
  inspectGuest,
  type LaunchProposal,
  proposeLaunch,
  type WindowsClock,
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
  const { firmware, launchMode, architecture, clock, boots, reasons, warnings } = proposal;
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
    `proposed: ${architecture}, ${firmware}, ${launchMode}, clock in ${clockName(clock)}`,
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
    const { drivers, clock } = windows;
    for (const driver of drivers.filter(({ hasFile }) => hasFile))
      lines.push(`  driver ${driver.name}.sys, start type ${driver.startType ?? 'not said'}`);
    if (clock !== undefined) lines.push(clockLine(clock));
  }
  return lines;
}

function clockLine({ holds, controlSet, valueType, value, timeZone }: WindowsClock): string {
  const name = holds === undefined ? 'not known' : clockName(holds);
  const setting =
    valueType === undefined ? 'not there' : `${valueType}${value === undefined ? '' : ` ${value}`}`;
  const zone = timeZone === undefined ? '' : `; time zone ${timeZone}`;
  return `  hardware clock: ${name} (RealTimeIsUniversal of ${controlSet} is ${setting}${zone})`;
}

function clockName(clock: LaunchProposal['clock']): string {
  return clock === 'utc' ? 'UTC' : 'local time';
}

function kernelLines({ version, drivers }: GuestKernel): string[] {
  if (drivers === undefined) return [`  kernel ${version}`];
  const states = Object.entries(drivers).map(([name, { value }]) => `${name} ${value}`);
  return [`  kernel ${version}: ${states.join(', ')}`];
}
