import { type Command, InvalidArgumentError, Option } from 'commander';
import { action, collect } from '../action.ts';
import { compressOption, parseSeconds } from '../arguments.ts';
import { addLocalMachineCommands } from './local/grammar.ts';
import { packedFormats } from './packed-formats.ts';

const FILE = 'descriptor: virt-image, domain XML of libvirt, OVF, OVA or settings of VirtualBox (.vbox)';

export function addMachineCommands(program: Command): void {
  const machine = program
    .command('machine')
    .description('machines from their descriptors; needs no service')
    .addHelpText('after', '\nExample:\n  gantry machine plan vm.xml\n');
  machine
    .command('lint')
    .description(
      'name all that is wrong with a virt-image descriptor, or unwise, and what is left out of others; exit status 3 for errors',
    )
    .argument('<file>', FILE)
    .addOption(systemOption())
    .addHelpText('after', '\nExample:\n  gantry machine lint vm.xml\n')
    .action(action(() => import('./lint.ts')));
  withRunOptions(
    withMachineOptions(
      machine
        .command('plan')
        .description('show the disks and how the machine would be started; changes nothing')
        .argument('<file>', FILE),
    ),
  )
    .addOption(
      new Option('--for <hypervisor>', 'print what it takes: a command, domain XML or a script')
        .choices(['qemu', 'libvirt', 'virtualbox'])
        .default('qemu'),
    )
    .option('--capabilities <file>', 'what virsh capabilities prints of the host that it is for')
    .addHelpText(
      'after',
      '\nExamples:\n  gantry machine plan vm.xml\n  gantry machine plan vm.xml --for libvirt > domain.xml\n',
    )
    .action(action(() => import('./plan.ts')));
  machine
    .command('convert')
    .description('write a descriptor as one of another kind; what is lost is told')
    .argument('<file>', FILE)
    .argument('<target>', 'file to write, or - for standard output')
    .addOption(
      new Option('--to <kind>', 'kind of the target')
        .choices(['virt-image', 'libvirt', 'virtualbox', 'ovf', 'vbox'])
        .makeOptionMandatory(),
    )
    .addOption(bootOption())
    .addOption(systemOption())
    .option('--any-path', 'for ovf and vbox: let the descriptor name any file; for those that you trust')
    .addHelpText('after', '\nExample:\n  gantry machine convert domain.xml vm.xml --to virt-image\n')
    .action(action(() => import('./convert.ts')));
  withRunOptions(
    withMachineOptions(
      machine
        .command('run')
        .description(
          'run the machine with QEMU until its guest ends, with its first serial port on standard output',
        )
        .argument('<file>', FILE),
    ),
  )
    .option(
      '--connect <hypervisor>',
      "qemu (when not given), libvirt, virtualbox, or libvirt's address of one; others than qemu keep the machine",
    )
    .option('--skip-checksum', 'do not compare the checksums of the disks')
    .addOption(
      new Option(
        '--accelerator <name>',
        'kvm or tcg; KVM where this user may use it, when not given',
      ).choices(['kvm', 'tcg']),
    )
    .addOption(
      new Option('--grace <seconds>', 'after Ctrl-C, how long the guest has to end before it is made to')
        .argParser(parseSeconds)
        .default(60),
    )
    .option('--print', 'print the command, and do nothing')
    .addHelpText('after', '\nExample:\n  gantry machine run vm.xml --ram 1024 --vnc\n')
    .action(action(() => import('./run.ts')));
  addPack(machine);
}

function addPack(machine: Command): void {
  machine
    .command('pack')
    .description('write an image of the service into a folder, as a disk and the descriptor that starts it')
    .argument('<image>', 'id of an image, or its name where only one has it')
    .argument('<folder>', 'folder to write into; it is made when it is not there')
    .addOption(
      new Option('--format <format>', 'format of the disk')
        .choices(Object.keys(packedFormats))
        .default('qcow2'),
    )
    .addOption(compressOption())
    .addOption(
      new Option(
        '--to <kind>',
        'kind of the descriptor; virt-image when not given, or libvirt for UEFI, which virt-image cannot say',
      ).choices(['virt-image', 'libvirt']),
    )
    .option('-n, --name <name>', "name of the machine and its files; the image's when not given")
    .addOption(new Option('-r, --ram <mib>', 'memory in MiB; 2048 when not given').argParser(parseCount))
    .addOption(
      new Option('--vcpus <count>', 'number of virtual CPUs; 1 when not given').argParser(parseCount),
    )
    .addOption(
      new Option('--arch <name>', 'instruction set of the guest').choices(['x86_64', 'i686', 'aarch64']),
    )
    .option('--vnc', 'the machine has a screen')
    .addHelpText(
      'after',
      '\nExample:\n  gantry machine pack web-01 web-01/\n  gantry machine run web-01/web-01.xml\n',
    )
    .action(action(() => import('./pack.ts')));
  addLocalMachineCommands(machine);
}

/** What `plan` and `run` take besides. */
function withRunOptions(command: Command): Command {
  return command
    .addOption(systemOption())
    .option('--uefi-code <file>', 'code of the UEFI firmware: OVMF_CODE.fd')
    .option('--uefi-variables <file>', "the machine's own copy of the UEFI variables: OVMF_VARS.fd");
}

/** What `plan`, `run` and `virt-image` take to change the machine. */
export function withMachineOptions(command: Command): Command {
  return command
    .addOption(bootOption())
    .option('-n, --name <name>', "name of the machine; the descriptor's when not given")
    .addOption(new Option('-r, --ram <mib>', 'memory in MiB').argParser(parseCount))
    .addOption(new Option('--vcpus <count>', 'number of virtual CPUs').argParser(parseCount))
    .addOption(
      new Option(
        '-w, --network <kind>',
        'a NIC: user, none, bridge:NAME or network:NAME, with ,model=… and ,mac=… (repeatable)',
      ).argParser(collect),
    )
    .option('--vnc', 'show the screen by VNC, on this host only')
    .option('--nographics', 'no screen')
    .addOption(
      new Option(
        '--omitted-features <reading>',
        'what a guest gets of pae, acpi and apic that the descriptor does not name',
      )
        .choices(['host-default', 'off'])
        .default('host-default'),
    )
    .option('--any-path', 'let the descriptor and its disks name any file; for those that you trust');
}

function bootOption(): Option {
  return new Option(
    '--boot <number>',
    'the boot of a virt-image to take, from 0; the first that fits when not given',
  ).argParser(parseIndex);
}

export function systemOption(): Option {
  return new Option('--system <name>', 'the machine of an OVF package that holds several, by its id or name');
}

function parseIndex(text: string): number {
  if (/^\d{1,4}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Write a number from 0.');
}

export function parseCount(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value * 2 ** 20) && value > 0) return value;
  throw new InvalidArgumentError('Write a whole number above 0.');
}
