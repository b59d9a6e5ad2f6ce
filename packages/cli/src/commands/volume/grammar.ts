import { type Command, Option } from 'commander';
import { action } from '../action.ts';
import { parseLength } from '../arguments.ts';

const VOLUME = 'id of a volume';

export function addVolumeCommands(program: Command): void {
  const volume = program
    .command('volume')
    .description('disks of the instances that a service runs')
    .addHelpText('after', '\nExample:\n  gantry volume list\n');
  volume
    .command('list')
    .description('list volumes, newest first; deleted ones for a day')
    .addHelpText('after', '\nExample:\n  gantry volume list\n')
    .action(action(() => import('./list.ts')));
  volume
    .command('show')
    .description('show a volume')
    .argument('<volume>', VOLUME)
    .addHelpText('after', '\nExample:\n  gantry volume show vol-0123456789abcdef0123456789abcdef\n')
    .action(action(() => import('./show.ts')));
  volume
    .command('create')
    .description('make a volume, empty or as an image is')
    .option('--name <name>', 'its name')
    .addOption(new Option('--size <bytes>', "its size; the image's when not given").argParser(parseLength))
    .option('--image <image>', 'id of an image, or its name where only one has it')
    .option('--compartment <id>', "where it shall belong; by default the tenancy's root")
    .addHelpText('after', '\nExample:\n  gantry volume create --name data --size 10737418240\n')
    .action(action(() => import('./create.ts')));
  volume
    .command('delete')
    .description('delete a volume that no instance has')
    .argument('<volume>', VOLUME)
    .addHelpText('after', '\nExample:\n  gantry volume delete vol-0123456789abcdef0123456789abcdef\n')
    .action(action(() => import('./delete.ts')));
}
