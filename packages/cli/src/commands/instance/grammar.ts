import { type Command, InvalidArgumentError, Option } from 'commander';
import { action } from '../action.ts';

export function addInstanceCommands(program: Command): void {
  const instance = program
    .command('instance')
    .description('instances of clouds')
    .addHelpText(
      'after',
      '\nExample:\n  gantry instance import oci://DEFAULT/ocid1.instance.oc1..aaaa --bucket exports --dry-run\n',
    );
  instance
    .command('import')
    .description('bring an instance of OCI here, as a machine of VirtualBox')
    .argument(
      '[source]',
      'oci://PROFILE/INSTANCE_OCID: a profile of the OCI configuration file, and the instance',
    )
    .option('--bucket <bucket>', 'bucket that the archive goes through')
    .option('--name <name>', "name of the machine; the instance's when not given")
    .option('--to <folder>', 'folder for the machine; one of its name when not given')
    .option('--keep', 'leave the custom image and the archive in the cloud')
    .option('--dry-run', 'say what would be done; only reads')
    .addOption(
      new Option('--resume <journal>', 'go on with the import that this journal is of').conflicts([
        'bucket',
        'name',
        'to',
        'keep',
        'dryRun',
        'endpoint',
        'configFile',
      ]),
    )
    .option('--endpoint <url>', "where OCI's services answer: a Gantry service, as http://HOST:PORT/oci")
    .option(
      '--config-file <file>',
      'OCI configuration file (also OCI_CONFIG_FILE); ~/.oci/config when not given',
    )
    .addOption(
      new Option('--parallel <count>', 'ranges of the archive that are downloaded at once')
        .argParser(parseParallel)
        .default(8),
    )
    .addHelpText(
      'after',
      '\nExamples:\n' +
        '  gantry instance import oci://DEFAULT/ocid1.instance.oc1..aaaa --bucket exports --to ./web-01\n' +
        '  gantry instance import --resume ./web-01/gantry-import.json\n',
    )
    .action(action(() => import('./import.ts')));
}

const PARALLEL_MAX = 64;

function parseParallel(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= PARALLEL_MAX) return value;
  throw new InvalidArgumentError(`Write a number from 1 to ${PARALLEL_MAX}.`);
}
