import {
  type DiskFilePlan,
  domainTypeOf,
  planDiskFiles,
  type UefiFiles,
  type WrittenDescriptor,
  writeLibvirtDomain,
  writeVBoxManageScript,
} from '@gantry/machine';
import type { Context } from '../../context.ts';
import { printable, shellWord } from '../../output/printable.ts';
import { exactSizeText } from '../../output/quantities.ts';
import { commandFor } from './accelerator.ts';
import {
  capabilitiesFrom,
  type FirmwareOptions,
  firmwareFor,
  installedQemu,
  type LoadedMachine,
  loadMachine,
  type MachineOptions,
  virtualBoxHost,
} from './load.ts';
import { noteLosses } from './losses.ts';

type Hypervisor = 'qemu' | 'libvirt' | 'virtualbox';

interface PlanOptions extends MachineOptions, FirmwareOptions {
  readonly for: Hypervisor;
  readonly capabilities?: string;
}

/** The disks and the targets are notes, so that standard output is what the hypervisor takes. */
export async function run(
  context: Context,
  [file]: readonly [string],
  options: PlanOptions,
): Promise<undefined> {
  const { capabilities } = options;
  const loaded = await loadMachine(context, file, options, async () => {
    if (capabilities !== undefined) return capabilitiesFrom(capabilities);
    return options.for === 'virtualbox' ? virtualBoxHost : installedQemu(context);
  });
  const plan = await planDiskFiles(loaded.machine, {
    folder: loaded.folder,
    anyPath: options.anyPath,
    signal: context.signal,
  });
  const firmware = options.for === 'qemu' ? await firmwareFor(plan.machine, file, options) : undefined;
  const { text, losses } = writtenFor(options, loaded, plan, firmware?.uefi);
  const record = {
    file,
    ...(loaded.bootIndex !== undefined && { boot: loaded.bootIndex }),
    name: loaded.machine.name,
    architecture: loaded.machine.architecture,
    disks: plan.files.map(({ index, path, format, action, virtualSizeBytes = null }) => {
      const { target = null, bus = null, device, role } = plan.machine.disks[index] ?? {};
      return { target, bus, device, role, path, format, action, virtualSizeBytes };
    }),
    for: options.for,
    text,
    losses: losses.map((loss) => ({ ...loss })),
    warnings: plan.warnings,
  };
  if (context.output.format === 'table') {
    notePlan(context, loaded, plan);
    noteLosses(context, losses, options.for);
  }
  await context.output.record(record, [text.trimEnd()]);
}

/** What there is and what would be made, for people. */
export function notePlan(context: Context, { bootIndex }: LoadedMachine, plan: DiskFilePlan): void {
  const { progress } = context;
  if (bootIndex !== undefined) progress.note(`boot: ${bootIndex}`);
  for (const { index, path, format, action, virtualSizeBytes = 0 } of plan.files) {
    const { target = '-' } = plan.machine.disks[index] ?? {};
    const what = action === 'use' ? 'is there' : `would be made, ${exactSizeText(virtualSizeBytes)}`;
    progress.note(`disk: ${target} ${path}, ${format}: ${what}`);
  }
  for (const warning of plan.warnings) progress.note(`warning: ${warning}`);
}

function writtenFor(
  options: PlanOptions,
  loaded: LoadedMachine,
  { machine }: DiskFilePlan,
  uefi: UefiFiles | undefined,
): WrittenDescriptor {
  if (options.for === 'virtualbox') return writeVBoxManageScript(machine);
  if (options.for === 'libvirt') {
    const { guest } = loaded;
    const type = guest === undefined ? undefined : domainTypeOf(guest);
    const known = type === 'kvm' || type === 'qemu' || type === 'xen' || type === 'test' ? type : undefined;
    return writeLibvirtDomain(machine, { domainType: known });
  }
  const { program, args, losses } = commandFor(machine, loaded.guest, { uefi });
  return { text: `${commandText([program, ...args])}\n`, losses };
}

/** One line for a shell. Control characters stay: a line of a script is not for a terminal alone. */
export function commandText(words: readonly string[]): string {
  return words
    .map((word) => shellWord(word))
    .map(printable)
    .join(' ');
}
