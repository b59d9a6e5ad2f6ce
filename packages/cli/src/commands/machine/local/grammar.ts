import { type Command, Option } from 'commander';
import { action } from '../../action.ts';
import { parseSeconds } from '../../arguments.ts';
import { systemOption, withMachineOptions } from '../grammar.ts';

const ID = 'id of the machine';

/** Machines that stay: defined, started and ended on this host, without a service. */
export function addLocalMachineCommands(machine: Command): void {
  withDriverOptions(
    withMachineOptions(
      machine
        .command('define')
        .description(
          'make a machine of a descriptor known to a hypervisor of this host; its name becomes its id',
        )
        .argument('<file>', 'descriptor'),
    ),
  )
    .addOption(systemOption())
    .option('--skip-checksum', 'do not compare the checksums of the disks')
    .addHelpText(
      'after',
      '\nExample:\n  gantry machine define vm.xml --name web\n  gantry machine start web\n',
    )
    .action(action(() => import('./define.ts')));
  withDriverOptions(
    machine.command('list').description('list the machines that are defined, with their states'),
  )
    .addHelpText('after', '\nExample:\n  gantry machine list --connect qemu:///system\n')
    .action(action(() => import('./list.ts')));
  withDriverOptions(machine.command('show').description('show the state of a machine').argument('<id>', ID))
    .addHelpText('after', '\nExample:\n  gantry machine show web -o json\n')
    .action(action(() => import('./show.ts')));
  withDriverOptions(
    machine
      .command('start')
      .description('start a machine, which then runs by itself; a paused one goes on')
      .argument('<id>', ID),
  )
    .addHelpText('after', '\nExample:\n  gantry machine start web\n')
    .action(action(() => import('./start.ts')));
  withDriverOptions(
    machine
      .command('stop')
      .description('press the power button of a machine, and end it when its guest does not')
      .argument('<id>', ID),
  )
    .addOption(graceOption())
    .addHelpText('after', '\nExample:\n  gantry machine stop web --grace 120\n')
    .action(action(() => import('./stop.ts')));
  withDriverOptions(
    machine
      .command('capture')
      .description('write the disks of a machine as they are at one moment, also while it runs')
      .argument('<id>', ID)
      .argument('<folder>', 'folder to write into; it is made when it is not there'),
  )
    .addOption(
      new Option('--format <format>', 'format of the disks')
        .choices(['qcow2', 'raw', 'vmdk', 'vdi'])
        .default('qcow2'),
    )
    .option('--reboot', 'let the guest end first, and start it again at once')
    .addOption(graceOption())
    .addHelpText('after', '\nExample:\n  gantry machine capture web web-today/\n')
    .action(action(() => import('./capture.ts')));
  withDriverOptions(
    machine
      .command('undefine')
      .description('end a machine by force and forget it; the files of its disks stay')
      .argument('<id>', ID),
  )
    .addHelpText('after', '\nExample:\n  gantry machine undefine web\n')
    .action(action(() => import('./undefine.ts')));
}

function withDriverOptions(command: Command): Command {
  return command
    .option(
      '--connect <hypervisor>',
      "qemu (when not given), libvirt, virtualbox, or libvirt's address of one",
    )
    .option(
      '--folder <folder>',
      'where what belongs to the machines is kept; ~/.local/share/gantry/machines when not given',
    );
}

function graceOption(): Option {
  return new Option('--grace <seconds>', 'how long the guest has to end by itself')
    .argParser(parseSeconds)
    .default(60);
}
