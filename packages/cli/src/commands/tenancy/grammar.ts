import type { Command } from 'commander';
import { action } from '../action.ts';

export function addTenancyCommands(program: Command): void {
  const tenancy = program
    .command('tenancy')
    .description('tenancies of a service; they know nothing of each other')
    .addHelpText('after', '\nExample:\n  gantry tenancy list\n');
  tenancy
    .command('create')
    .description('make a tenancy with an administrator; for administrators of the first tenancy')
    .argument('<tenancy>', 'its name, in small letters, digits and hyphens')
    .option('--admin <name>', 'name of its administrator', 'admin')
    .option(
      '--save <file>',
      "write the administrator's token into a new client profile instead of showing it",
    )
    .addHelpText('after', '\nExample:\n  gantry tenancy create acme --save acme.toml\n')
    .action(action(() => import('./create.ts')));
  tenancy
    .command('list')
    .description('list tenancies')
    .addHelpText('after', '\nExample:\n  gantry tenancy list\n')
    .action(action(() => import('./list.ts')));
}
