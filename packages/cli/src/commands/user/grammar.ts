import { type Command, Option } from 'commander';
import { action } from '../action.ts';

const VERBS = 'inspect, read, use or manage, each more than the one before';
const RESOURCES = 'all, compartments, users, tag-namespaces, buckets, objects, images, instances or volumes';

function compartmentOption(): Option {
  return new Option('--compartment <compartment>', 'where, and below: a path, id or OCID').default('/');
}

export function addUserCommands(program: Command): void {
  const user = program
    .command('user')
    .description('users of a tenancy, and what they may do')
    .addHelpText('after', '\nExample:\n  gantry user list\n');
  user
    .command('create')
    .description('make a user')
    .argument('<user>', 'its name')
    .addOption(
      new Option(
        '--role <role>',
        'an administrator may do everything in the tenancy; a member what is granted',
      )
        .choices(['administrator', 'member'])
        .default('member'),
    )
    .option('--description <text>', 'who it is')
    .option('--email <address>', "the user's address")
    .option('--save <file>', "write the user's token into a new client profile instead of showing it")
    .addHelpText('after', '\nExample:\n  gantry user create erin --save erin.toml\n')
    .action(action(() => import('./create.ts')));
  user
    .command('list')
    .description('list users')
    .addHelpText('after', '\nExample:\n  gantry user list\n')
    .action(action(() => import('./list.ts')));
  user
    .command('show')
    .description('show a user with its grants and API keys')
    .argument('<user>', 'name, id or OCID')
    .addHelpText('after', '\nExample:\n  gantry user show erin\n')
    .action(action(() => import('./show.ts')));
  user
    .command('delete')
    .description('delete a user with its tokens, API keys, grants and pre-authenticated requests')
    .argument('<user>', 'name, id or OCID')
    .addHelpText('after', '\nExample:\n  gantry user delete erin\n')
    .action(action(() => import('./delete.ts')));
  user
    .command('delete-key')
    .description('delete an API key of a user')
    .argument('<user>', 'name, id or OCID')
    .argument('<fingerprint>', 'of the key')
    .addHelpText('after', '\nExample:\n  gantry user delete-key erin 12:34:…:ab\n')
    .action(action(() => import('./delete-key.ts')));
  user
    .command('grant')
    .description('let a user do something in a compartment and all below it; for administrators')
    .argument('<user>', 'name, id or OCID')
    .argument('<verb>', VERBS)
    .argument('<resource>', RESOURCES)
    .addOption(compartmentOption())
    .addHelpText('after', '\nExample:\n  gantry user grant erin manage images --compartment work/test\n')
    .action(action(() => import('./grant.ts')));
  user
    .command('revoke')
    .description('take a grant back; for administrators')
    .argument('<user>', 'name, id or OCID')
    .argument('<verb>', VERBS)
    .argument('<resource>', RESOURCES)
    .addOption(compartmentOption())
    .addHelpText('after', '\nExample:\n  gantry user revoke erin manage images --compartment work/test\n')
    .action(action(() => import('./revoke.ts')));
}
