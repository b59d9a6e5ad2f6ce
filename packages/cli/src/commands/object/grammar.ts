import type { Command } from 'commander';
import { action } from '../action.ts';
import { waitTimeoutOption } from '../arguments.ts';

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
    .command('copy')
    .description('copy an object, within the region or to another one')
    .argument('<object>', PLACE)
    .argument('<target>', 'BUCKET/KEY of the copy')
    .option('--region <name>', 'the region that the copy goes to; by default the own one')
    .option('--if-absent', 'only when there is no such object')
    .option('--wait', 'wait until the copy is there')
    .addOption(waitTimeoutOption())
    .addHelpText(
      'after',
      '\nExample:\n  gantry object copy my-bucket/vm.oci backups/vm.oci --region north --wait\n',
    )
    .action(action(() => import('./copy.ts')));
  object
    .command('rename')
    .description('give an object another key at once')
    .argument('<object>', PLACE)
    .argument('<key>', 'its new key in the same bucket')
    .option('--if-absent', 'only when no object has that key')
    .addHelpText('after', '\nExample:\n  gantry object rename my-bucket/vm.oci archive/vm.oci\n')
    .action(action(() => import('./rename.ts')));
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
