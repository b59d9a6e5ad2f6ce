import type { Command } from 'commander';
import { action } from '../action.ts';
import { waitTimeoutOption } from '../arguments.ts';

export function addVaultCommands(program: Command): void {
  const vault = program
    .command('vault')
    .description("the service's store of image content; for administrators")
    .addHelpText('after', '\nExample:\n  gantry vault check\n');
  vault
    .command('check')
    .description('check the vault and wait for the findings; exit status 3 when there are some')
    .option('--data', 'read and verify every block too')
    .addOption(waitTimeoutOption())
    .addHelpText('after', '\nExample:\n  gantry vault check --data\n')
    .action(action(() => import('./check.ts')));
  vault
    .command('gc')
    .description('remove the blocks that nothing refers to, and wait for the result')
    .addOption(waitTimeoutOption())
    .addHelpText('after', '\nExample:\n  gantry vault gc\n')
    .action(action(() => import('./gc.ts')));
}
