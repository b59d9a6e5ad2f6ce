import { type Command, Option } from 'commander';
import { action, collect } from '../action.ts';
import { withMachineOptions } from '../machine/grammar.ts';

/** The options of the tool that the format came with, under their old names. */
export function addVirtImageCommand(program: Command): void {
  const command = withMachineOptions(
    program
      .command('virt-image')
      .description('make a virtual machine of libvirt from a virt-image descriptor, and start it')
      .argument('<image>', 'virt-image descriptor'),
  )
    .option('--connect <uri>', "libvirt's address of the hypervisor; as libvirt chooses when not given")
    .option('--memory <mib>', 'memory in MiB; what stands behind a comma is not used')
    .option('-u, --uuid <uuid>', 'UUID of the machine; a random one when not given')
    .option('--noapic', 'no APIC, whatever the descriptor says')
    .option('--noacpi', 'no ACPI, whatever the descriptor says')
    .addOption(new Option('-b, --bridge <name>', 'a NIC on this bridge (repeatable)').argParser(collect))
    .addOption(
      new Option('-m, --mac <address>', 'address of the next NIC, or RANDOM (repeatable)').argParser(collect),
    )
    .option('--graphics <kind>', 'screen: vnc, spice, sdl or none, with ,port=… ,listen=… ,keymap=…')
    .option('--vncport <port>', 'port of --vnc')
    .option('--vnclisten <address>', 'address that --vnc listens on')
    .option('-k, --keymap <name>', 'keymap of the screen')
    .option('--sdl', 'screen in a window')
    .option('--replace', 'end and remove a machine of the same name first')
    .option('--noreboot', 'define the machine, and do not start it')
    .option('--skip-checksum', 'do not compare the checksums of the disks')
    .option('-p, --print', 'print the domain XML, and do nothing')
    .option('-q, --quiet', 'say nothing but errors');
  for (const [flags, description] of unused)
    command.addOption(new Option(flags, `${description}; taken and not used`));
  for (const flags of ['--print-xml', '-d, --debug', '--prompt', '--force'])
    command.addOption(new Option(flags, 'old spelling, or without effect').hideHelp());
  command
    .addHelpText(
      'after',
      '\nExamples:\n  gantry virt-image vm.xml\n  gantry virt-image vm.xml --connect qemu:///system --noreboot\n  gantry virt-image vm.xml --print > domain.xml\n',
    )
    .action(action(() => import('./virt-image.ts')));
}

const unused: readonly (readonly [string, string])[] = [
  ['--cpuset <cpus>', 'host CPUs to run on'],
  ['--cpu <model>', 'model of the CPU'],
  ['--check-cpu', 'compare the number of CPUs with the host'],
  ['--os-type <type>', 'kind of the operating system'],
  ['--os-variant <name>', 'name of the operating system'],
];
