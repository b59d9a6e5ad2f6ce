import { type Command, Option } from 'commander';
import { action } from '../action.ts';

export function addParCommands(program: Command): void {
  const par = program
    .command('par')
    .description('pre-authenticated requests: addresses that carry their own permission to objects')
    .addHelpText('after', '\nExample:\n  gantry par create my-bucket/vm.oci --expires 7d\n');
  par
    .command('create')
    .description('make an address that anyone who has it may use until it expires; it is shown once')
    .argument('<object>', 'BUCKET/KEY; with --prefix, BUCKET/PREFIX or BUCKET for all of its objects')
    .addOption(
      new Option('--access <access>', 'what it is good for')
        .choices(['read', 'write', 'read-write'])
        .default('read'),
    )
    .requiredOption(
      '--expires <when>',
      'in so many minutes, hours or days (30m, 12h, 7d), or an ISO 8601 time',
    )
    .option('--prefix', 'for all objects whose keys begin so')
    .option('--list', 'with --prefix: let it list them too')
    .option('--name <text>', 'what it is called in lists; the object by default')
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  gantry par create my-bucket/vm.oci --expires 7d\n' +
        '  gantry par create my-bucket/inbox/ --prefix --access write --expires 12h\n',
    )
    .action(action(() => import('./create.ts')));
  par
    .command('list')
    .description("list a bucket's pre-authenticated requests, without their addresses")
    .argument('<bucket>', 'BUCKET, or BUCKET/PREFIX for those of the keys that begin so')
    .addHelpText('after', '\nExample:\n  gantry par list my-bucket\n')
    .action(action(() => import('./list.ts')));
  par
    .command('delete')
    .description('delete a pre-authenticated request: its address is good for nothing from then on')
    .argument('<bucket>', 'the bucket that it belongs to')
    .argument('<id>', 'its id')
    .addHelpText('after', '\nExample:\n  gantry par delete my-bucket par-01a1ffff844f0001e274356a3ec851ba\n')
    .action(action(() => import('./delete.ts')));
}
