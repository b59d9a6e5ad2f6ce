import { type Command, InvalidArgumentError, Option } from 'commander';
import { action } from '../action.ts';
import { parseLength, parsePositiveNumber, parseSeconds, waitTimeoutOption } from '../arguments.ts';

const INSTANCE = 'id of an instance, or its name where only one has it';

export function addInstanceCommands(program: Command): void {
  const instance = program
    .command('instance')
    .description('machines that a service runs, and instances of clouds')
    .addHelpText('after', '\nExample:\n  gantry instance launch web-01 --name web --wait\n');
  addLaunch(instance);
  addLooks(instance);
  addPower(instance);
  addChanges(instance);
  addImport(instance);
}

function addLaunch(instance: Command): void {
  instance
    .command('launch')
    .description('start a machine from an image, or from a boot volume that is there')
    .argument('[image]', 'id of an image, or its name where only one has it')
    .option('--name <name>', "name of the instance; the image's when not given")
    .option('--boot-volume <id>', 'a boot volume to start from instead of an image')
    .addOption(
      new Option(
        '--boot-volume-size <bytes>',
        "size of the new boot volume; the image's when not given",
      ).argParser(parseLength),
    )
    .option('--shape <name>', 'size of the machine; the first that the service has when not given')
    .addOption(
      sizeOption('--ocpus <count>', 'cores of a flexible shape: two processors on x86_64, one on Arm'),
    )
    .addOption(sizeOption('--memory <gb>', 'memory of a flexible shape, in GiB'))
    .addOption(
      new Option('--firmware <name>', "firmware; the image's launch options tell it when not given").choices([
        'BIOS',
        'UEFI_64',
      ]),
    )
    .addOption(
      new Option('--metadata <name=value>', 'what is said of the instance (repeatable)').argParser(
        parseMetadata,
      ),
    )
    .option('--compartment <id>', "where it shall belong; by default the tenancy's root")
    .option('--materialize', 'copy the whole disk before the start, where otherwise it is copied meanwhile')
    .option('--wait', 'wait until it runs')
    .addOption(waitTimeoutOption())
    .addHelpText(
      'after',
      '\nExamples:\n  gantry instance launch web-01 --wait\n  gantry instance launch web-01 --name web-02 --ocpus 1 --memory 2\n',
    )
    .action(action(() => import('./launch.ts')));
}

function addLooks(instance: Command): void {
  instance
    .command('list')
    .description('list instances, newest first; terminated ones for a day')
    .addOption(
      new Option('--state <state>', 'only those in this state').choices([
        'PROVISIONING',
        'STARTING',
        'RUNNING',
        'STOPPING',
        'STOPPED',
        'CREATING_IMAGE',
        'TERMINATING',
        'TERMINATED',
      ]),
    )
    .addHelpText('after', '\nExample:\n  gantry instance list --state RUNNING\n')
    .action(action(() => import('./list.ts')));
  instance
    .command('show')
    .description('show an instance with its volumes')
    .argument('<instance>', INSTANCE)
    .addHelpText('after', '\nExample:\n  gantry instance show web-01\n')
    .action(action(() => import('./show.ts')));
  instance
    .command('log')
    .description('print what the guest has written to its first serial port since its last start')
    .argument('<instance>', INSTANCE)
    .option('-f, --follow', 'go on with what it writes, until it ends')
    .addHelpText('after', '\nExample:\n  gantry instance log web-01 --follow\n')
    .action(action(() => import('./log.ts')));
  instance
    .command('screenshot')
    .description('write a picture of the screen, PNG')
    .argument('<instance>', INSTANCE)
    .argument('<target>', 'file to write, or - for standard output')
    .addHelpText('after', '\nExample:\n  gantry instance screenshot web-01 web-01.png\n')
    .action(action(() => import('./screenshot.ts')));
  instance
    .command('screen')
    .description('let VNC viewers of this machine see the screen, until Ctrl-C')
    .argument('<instance>', INSTANCE)
    .addOption(
      new Option(
        '--port <number>',
        'port of 127.0.0.1 to answer at; the first free one from 5900 when not given',
      ).argParser(parsePort),
    )
    .addHelpText('after', '\nExample:\n  gantry instance screen web-01\n')
    .action(action(() => import('./screen.ts')));
  instance
    .command('console')
    .description('talk with the guest over its first serial port; Ctrl-] leaves it')
    .argument('<instance>', INSTANCE)
    .addHelpText('after', '\nExample:\n  gantry instance console web-01\n')
    .action(action(() => import('./console.ts')));
}

function addPower(instance: Command): void {
  waited(
    instance
      .command('start')
      .description('start an instance that is stopped')
      .argument('<instance>', INSTANCE)
      .addHelpText('after', '\nExample:\n  gantry instance start web-01 --wait\n')
      .action(action(() => import('./start.ts'))),
  );
  waited(
    instance
      .command('stop')
      .description('press the power button, and end the machine when its guest has not ended in time')
      .argument('<instance>', INSTANCE)
      .option('--force', 'end it at once, as by pulling the plug')
      .addOption(graceOption())
      .addHelpText('after', '\nExample:\n  gantry instance stop web-01 --grace 120 --wait\n')
      .action(action(() => import('./stop.ts'))),
  );
  waited(
    instance
      .command('reset')
      .description('stop an instance as stop does, and start it again')
      .argument('<instance>', INSTANCE)
      .option('--force', 'at once, as by the reset button')
      .addOption(graceOption())
      .addHelpText('after', '\nExample:\n  gantry instance reset web-01 --force\n')
      .action(action(() => import('./reset.ts'))),
  );
  waited(
    instance
      .command('terminate')
      .description('end an instance and delete it, and its boot volume with it')
      .argument('<instance>', INSTANCE)
      .option('--keep-boot-volume', 'keep what it started from')
      .addHelpText('after', '\nExample:\n  gantry instance terminate web-01 --keep-boot-volume\n')
      .action(action(() => import('./terminate.ts'))),
  );
}

function addChanges(instance: Command): void {
  instance
    .command('update')
    .description('change the name of an instance, or its size while it is stopped')
    .argument('<instance>', INSTANCE)
    .option('--name <name>', 'another name')
    .option('--shape <name>', 'another shape')
    .addOption(sizeOption('--ocpus <count>', 'cores of a flexible shape'))
    .addOption(sizeOption('--memory <gb>', 'memory of a flexible shape, in GiB'))
    .addHelpText('after', '\nExample:\n  gantry instance update web-01 --memory 4\n')
    .action(action(() => import('./update.ts')));
  waited(
    instance
      .command('attach')
      .description('give an instance a volume, while it runs too')
      .argument('<instance>', INSTANCE)
      .argument('<volume>', 'id of a volume')
      .addHelpText(
        'after',
        '\nExample:\n  gantry instance attach web-01 vol-0123456789abcdef0123456789abcdef --wait\n',
      )
      .action(action(() => import('./attach.ts'))),
  );
  waited(
    instance
      .command('detach')
      .description('take a volume from an instance; a guest that runs has to let go of it')
      .argument('<instance>', INSTANCE)
      .argument('<volume>', 'id of a volume')
      .addHelpText(
        'after',
        '\nExample:\n  gantry instance detach web-01 vol-0123456789abcdef0123456789abcdef --wait\n',
      )
      .action(action(() => import('./detach.ts'))),
  );
}

function waited(command: Command): Command {
  return command.option('--wait', 'wait until it is done').addOption(waitTimeoutOption());
}

function graceOption(): Option {
  return new Option(
    '--grace <seconds>',
    'how long the guest has to end by itself; 15 minutes when not given',
  ).argParser(parseSeconds);
}

function sizeOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser(parsePositiveNumber);
}

function parsePort(text: string): number {
  const value = Number(text);
  if (/^\d{1,5}$/.test(text) && value <= 65_535) return value;
  throw new InvalidArgumentError('Write a number from 0 (any free one) to 65535.');
}

function parseMetadata(
  text: string,
  previous: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('Write name=value.');
  return { ...previous, [text.slice(0, at)]: text.slice(at + 1) };
}

function addImport(instance: Command): void {
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
