import type { Command } from 'commander';
import { action } from '../action.ts';

export function addCompartmentCommands(program: Command): void {
  const compartment = program
    .command('compartment')
    .description("the tree of a tenancy's compartments, which hold resources")
    .addHelpText('after', '\nExample:\n  gantry compartment list\n');
  compartment
    .command('create')
    .description('make a compartment')
    .argument('<path>', 'its path, such as work/test; what is above must be there')
    .option('--description <text>', 'what it is for')
    .addHelpText('after', '\nExample:\n  gantry compartment create work/test\n')
    .action(action(() => import('./create.ts')));
  compartment
    .command('list')
    .description('list compartments')
    .addHelpText('after', '\nExample:\n  gantry compartment list\n')
    .action(action(() => import('./list.ts')));
  compartment
    .command('delete')
    .description('delete a compartment that holds nothing')
    .argument('<compartment>', 'path, id or OCID')
    .addHelpText('after', '\nExample:\n  gantry compartment delete work/test\n')
    .action(action(() => import('./delete.ts')));
}
