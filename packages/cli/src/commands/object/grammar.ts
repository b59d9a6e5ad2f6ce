import type { Command } from 'commander';
import { action } from '../action.ts';

const PLACE = 'BUCKET/KEY';

export function addObjectCommands(program: Command): void {
  const object = program
    .command('object')
    .description('objects in the buckets of a service')
    .addHelpText('after', '\nExample:\n  gantry object list my-bucket\n');
  object
    .command('put')
    .description('put a file into a bucket; run again after an interruption, it goes on')
    .argument('<file>', 'file to send')
    .argument('<object>', PLACE)
    .addHelpText('after', '\nExample:\n  gantry object put vm.vmdk my-bucket/vm.vmdk\n')
    .action(action(() => import('./put.ts')));
  object
    .command('get')
    .description('copy an object into a file')
    .argument('<object>', PLACE)
    .argument('<file>', 'file to write, replaced only when complete; - for standard output')
    .addHelpText('after', '\nExample:\n  gantry object get my-bucket/vm.vmdk vm.vmdk\n')
    .action(action(() => import('./get.ts')));
  object
    .command('list')
    .description('list the objects of a bucket by key')
    .argument('<bucket>', 'BUCKET, or BUCKET/PREFIX for the keys that begin so')
    .addHelpText('after', '\nExample:\n  gantry object list my-bucket/backups/\n')
    .action(action(() => import('./list.ts')));
  object
    .command('delete')
    .description('delete an object')
    .argument('<object>', PLACE)
    .addHelpText('after', '\nExample:\n  gantry object delete my-bucket/vm.vmdk\n')
    .action(action(() => import('./delete.ts')));
}
