import type { Command } from 'commander';
import { action } from '../action.ts';

export function addOciCommands(program: Command): void {
  const oci = program
    .command('oci')
    .description('for the SDKs and the CLI of OCI, which a service answers')
    .addHelpText('after', '\nExample:\n  gantry oci setup\n');
  oci
    .command('setup')
    .description('make an API key and a profile in the configuration file of the OCI SDKs and CLI')
    .option('--user <user>', 'whose key it is: name, id or OCID; by default your own')
    .option('--dir <folder>', 'where the configuration file and the key go; by default ~/.oci')
    .option('--profile-name <name>', 'name of the profile in that file', 'GANTRY')
    .option('--force', 'replace a profile of that name')
    .addHelpText('after', '\nExample:\n  gantry oci setup --profile-name GANTRY\n')
    .action(action(() => import('./setup.ts')));
}
