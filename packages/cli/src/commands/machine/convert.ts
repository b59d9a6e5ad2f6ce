import { dirname, resolve } from 'node:path';
import {
  completeMachine,
  type Machine,
  type WrittenDescriptor,
  writeLibvirtDomain,
  writeOvf,
  writeVBoxManageScript,
  writeVirtImage,
  writeVirtualBoxSettings,
} from '@gantry/machine';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';
import { targetPath } from '../../output/target-file.ts';
import { writeWholeFile } from '../../output/whole-file.ts';
import { writeAll } from '../../output/write.ts';
import { describeDisks } from './described-disks.ts';
import { type DescriptorChoice, openDescriptor, readMachine } from './descriptor.ts';
import { noteLosses } from './losses.ts';

interface ConvertOptions extends DescriptorChoice {
  readonly to: TargetKind;
  readonly anyPath?: boolean;
}

type TargetKind = keyof typeof plainWriters | 'ovf' | 'vbox';

/** Those that say nothing of the images themselves. */
const plainWriters = {
  'virt-image': writeVirtImage,
  libvirt: (machine: Machine) => writeLibvirtDomain(machine),
  virtualbox: writeVBoxManageScript,
} as const;

export async function run(
  context: Context,
  [file, target]: readonly [string, string],
  options: ConvertOptions,
): Promise<undefined> {
  const { to } = options;
  const opened = await openDescriptor(context, file);
  const { facts, warnings } = readMachine(opened, options);
  for (const warning of warnings) context.progress.note(`warning: ${warning}`);
  const machine = completeMachine(facts);
  const { text, losses } =
    to === 'ovf' || to === 'vbox'
      ? await writtenOf(machine, opened.isPacked, to, context, file, target, options)
      : plainWriters[to](machine);
  noteLosses(context, losses, to);
  if (target === '-') {
    await writeAll(process.stdout, text);
    return;
  }
  await writeWholeFile(await targetPath(target, [file, ...filesOf(machine, dirname(file))]), text);
  const record = { target, kind: to, losses: losses.map((loss) => ({ ...loss })) };
  await context.output.record(record, [`wrote ${printable(target)} as ${to}`]);
}

/** The files of a machine, which its descriptor must not replace. */
function filesOf({ disks, kernel }: Machine, folder: string): string[] {
  return [...disks.map(({ path }) => path), kernel?.path, kernel?.initrdPath].flatMap((path) =>
    path === undefined ? [] : [resolve(folder, path)],
  );
}

/** For the kinds that say sizes and identifiers of the images, which have to be those of the files. */
async function writtenOf(
  machine: Machine,
  isPacked: boolean,
  to: 'ovf' | 'vbox',
  { signal }: Context,
  file: string,
  target: string,
  { anyPath }: ConvertOptions,
): Promise<WrittenDescriptor> {
  const folder = resolve(dirname(file));
  const targetFolder = target === '-' ? folder : resolve(dirname(target));
  const described = isPacked
    ? { machine, files: new Map<string, never>() }
    : await describeDisks(machine, { folder, targetFolder, anyPath, signal });
  return to === 'ovf'
    ? writeOvf(described.machine, described.files)
    : writeVirtualBoxSettings(described.machine);
}
