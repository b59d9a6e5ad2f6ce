import type { Command } from 'commander';
import { action } from '../action.ts';

export function addBucketCommands(program: Command): void {
  const bucket = program
    .command('bucket')
    .description('buckets of a service')
    .addHelpText('after', '\nExample:\n  gantry bucket list\n');
  bucket
    .command('create')
    .description('make a bucket')
    .argument('<bucket>', 'its name')
    .option('--compartment <compartment>', 'where: a path, id or OCID; the root by default')
    .addHelpText('after', '\nExample:\n  gantry bucket create my-bucket\n')
    .action(action(() => import('./create.ts')));
  bucket
    .command('list')
    .description('list buckets')
    .addHelpText('after', '\nExample:\n  gantry bucket list\n')
    .action(action(() => import('./list.ts')));
  bucket
    .command('delete')
    .description('delete an empty bucket')
    .argument('<bucket>', 'its name')
    .addHelpText('after', '\nExample:\n  gantry bucket delete my-bucket\n')
    .action(action(() => import('./delete.ts')));
}
